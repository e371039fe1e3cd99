"""All stores over one database, as one value that the layers above pass on."""

from collections.abc import Callable
from dataclasses import dataclass

from chatd.store.chat_lists import ChatLists
from chatd.store.chats import Chats
from chatd.store.database import Database
from chatd.store.idempotency import IdempotencyStore
from chatd.store.limits import ChatLimits
from chatd.store.messages import Messages
from chatd.store.models import Models
from chatd.store.queue import Queue
from chatd.store.reads import ChatReader
from chatd.store.stream_reads import StreamStore
from chatd.store.tool_calls import ToolCalls
from chatd.store.turns import Turns
from chatd.telemetry.metrics import LeaseMetrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """The stores that every part of a process shares.

    Callers of the API change chats through ``chats``, ``messages``, ``queue`` and ``tool_calls``; the
    worker through ``turns``. The others only read, but for ``idempotency`` and ``models``.
    """

    chats: Chats
    messages: Messages
    queue: Queue
    tool_calls: ToolCalls
    turns: Turns
    reads: ChatReader
    chat_lists: ChatLists
    stream_reads: StreamStore
    idempotency: IdempotencyStore
    models: Models


def build_store(
    database: Database, *, limits: Callable[[], ChatLimits], metrics: LeaseMetrics
) -> Store:
    """Return the stores over ``database``. Each statement asks ``limits`` anew."""
    return Store(
        chats=Chats(database, limits=limits),
        messages=Messages(database, limits=limits),
        queue=Queue(database, limits=limits),
        tool_calls=ToolCalls(database),
        turns=Turns(database, metrics=metrics),
        reads=ChatReader(database),
        chat_lists=ChatLists(database),
        stream_reads=StreamStore(database),
        idempotency=IdempotencyStore(database),
        models=Models(database),
    )
