"""Actors of the worker on a database, with values of their own: actors have no default numbers."""

from uuid import UUID, uuid4

from chatd.domain.hint import Hint
from chatd.fanout.change_bus import ChangeBus
from chatd.fanout.hub import ChatHub
from chatd.store.chat_lists import ChatLists
from chatd.store.database import Database
from chatd.store.idempotency import IdempotencyStore
from chatd.store.leases import Leases
from chatd.store.stream_reads import StreamStore
from chatd.store.tool_calls import ToolCalls
from chatd.store.turns import Turns
from chatd.worker.flusher import Flusher
from chatd.worker.janitor import Janitor
from chatd.worker.reaper import Reaper

LEASE_SECONDS = 20.0


def recording_change_bus() -> tuple[ChangeBus, list[Hint]]:
    """Return a change bus, and the list of the hints that it sends to other replicas."""
    hints: list[Hint] = []
    return ChangeBus(ChatHub(subscriber_buffer=100), notify_replicas=hints.append), hints


def make_reaper(
    database: Database,
    change_bus: ChangeBus,
    *,
    worker_id: UUID | None = None,
    max_recoveries: int = 3,
) -> Reaper:
    return Reaper(
        Leases(database, worker_id=worker_id or uuid4()),
        Turns(database),
        ToolCalls(database),
        change_bus,
        reap_interval_seconds=1.0,
        lease_seconds=LEASE_SECONDS,
        max_recoveries=max_recoveries,
    )


def make_janitor(database: Database, leases: Leases) -> Janitor:
    return Janitor(
        StreamStore(database),
        leases,
        IdempotencyStore(database),
        ChatLists(database),
        event_retention_days=7,
        idempotency_retention_hours=6,
        lease_seconds=LEASE_SECONDS,
    )


def make_flusher(database: Database, change_bus: ChangeBus) -> Flusher:
    return Flusher(StreamStore(database), change_bus, flush_interval_seconds=0.1, flush_bytes=4096)
