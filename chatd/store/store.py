"""All stores over one database, as one value that the layers above pass on."""

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from chatd.store.chat_lists import ChatLists
from chatd.store.chats import Chats
from chatd.store.children import Children
from chatd.store.claim_on_send import ClaimOnSend
from chatd.store.claims import Claims
from chatd.store.commits import CommitListener
from chatd.store.database import Database
from chatd.store.files import Files
from chatd.store.fleet import Fleet
from chatd.store.histories import KnownHistories
from chatd.store.idempotency import IdempotencyStore
from chatd.store.leases import Leases
from chatd.store.limits import ChatLimits
from chatd.store.message_search import MessageSearch
from chatd.store.messages import Messages
from chatd.store.models import Models
from chatd.store.pending import PendingChats
from chatd.store.queue import Queue
from chatd.store.reads import ChatReader
from chatd.store.reaps import Reaps
from chatd.store.searches import Searches
from chatd.store.slots import SlotSource
from chatd.store.stream_reads import StreamStore
from chatd.store.sweeps import Sweeps
from chatd.store.titles import Titles
from chatd.store.tool_calls import ToolCalls
from chatd.store.turns import Turns
from chatd.telemetry.metrics import ContainmentMetrics, LeaseMetrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """The stores that every part of a process shares.

    Callers of the API change chats through ``chats``, ``messages``, ``queue`` and ``tool_calls``, the
    worker through ``claims``, ``pending``, ``turns``, ``leases`` and ``reaps``. The other stores read, or
    write only their own tables.
    """

    chats: Chats
    messages: Messages
    queue: Queue
    tool_calls: ToolCalls
    children: Children
    claims: Claims
    slots: SlotSource
    pending: PendingChats
    turns: Turns
    leases: Leases
    reaps: Reaps
    reads: ChatReader
    chat_lists: ChatLists
    files: Files
    stream_reads: StreamStore
    idempotency: IdempotencyStore
    models: Models
    sweeps: Sweeps
    titles: Titles
    message_search: MessageSearch
    fleet: Fleet


def build_store(
    database: Database,
    *,
    worker_id: UUID,
    limits: Callable[[], ChatLimits],
    metrics: LeaseMetrics,
    containment_metrics: ContainmentMetrics,
    listener: CommitListener,
    history_cache_bytes: int = 0,
    searches: Searches | None = None,
    text_search_config: str = "simple",
) -> Store:
    """Return the stores over ``database``.

    ``limits`` is called for each statement. ``listener`` is called with everything that they commit.
    ``history_cache_bytes`` bounds the histories that are kept.
    """
    slots, histories = SlotSource(), KnownHistories(max_bytes=history_cache_bytes)
    claims = Claims(
        database,
        worker_id=worker_id,
        limits=limits,
        listener=listener,
        containment_metrics=containment_metrics,
    )
    claim_on_send = ClaimOnSend(database, claims=claims, slots=slots, histories=histories)
    return Store(
        chats=Chats(database, limits=limits, listener=listener, claim_on_send=claim_on_send),
        messages=Messages(database, limits=limits, listener=listener, claim_on_send=claim_on_send),
        queue=Queue(database, limits=limits, listener=listener),
        tool_calls=ToolCalls(
            database,
            limits=limits,
            listener=listener,
            containment_metrics=containment_metrics,
            claim_on_send=claim_on_send,
        ),
        children=Children(
            database, limits=limits, listener=listener, containment_metrics=containment_metrics
        ),
        claims=claims,
        slots=slots,
        pending=PendingChats(
            database,
            worker_id=worker_id,
            limits=limits,
            listener=listener,
            containment_metrics=containment_metrics,
        ),
        turns=Turns(
            database, limits=limits, metrics=metrics, listener=listener, histories=histories
        ),
        leases=Leases(
            database,
            worker_id=worker_id,
            listener=listener,
            containment_metrics=containment_metrics,
        ),
        reaps=Reaps(
            database,
            worker_id=worker_id,
            listener=listener,
            containment_metrics=containment_metrics,
        ),
        reads=ChatReader(database),
        chat_lists=ChatLists(database, searches=searches, containment_metrics=containment_metrics),
        files=Files(database),
        stream_reads=StreamStore(database, listener=listener),
        idempotency=IdempotencyStore(database),
        models=Models(database),
        sweeps=Sweeps(database),
        fleet=Fleet(database),
        titles=Titles(database, listener=listener, histories=histories),
        message_search=MessageSearch(
            database,
            config=text_search_config,
            searches=searches,
            containment_metrics=containment_metrics,
        ),
    )
