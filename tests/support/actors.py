"""Actors of the worker on a database, with short intervals, since actors have no default numbers."""

from collections.abc import Callable
from uuid import UUID, uuid4

from chatd.domain.hint import Hint
from chatd.fanout.change_bus import ChangeBus
from chatd.fanout.hub import ChatHub
from chatd.store.chats import Chats
from chatd.store.commits import CommitListener
from chatd.store.database import Database
from chatd.store.leases import Leases
from chatd.store.reaps import Reaps
from chatd.store.stream_reads import StreamStore
from chatd.store.sweeps import Sweeps
from chatd.store.tool_calls import ToolCalls
from chatd.store.turns import Turns
from chatd.worker.clock import boottime
from chatd.worker.flusher import Flusher
from chatd.worker.janitor import Janitor
from chatd.worker.reaper import Reaper
from chatd.worker.unheld_chats import UnheldChats

LEASE_SECONDS = 20.0


def recording_change_bus() -> tuple[ChangeBus, list[Hint]]:
    """Return a change bus, and the list of the hints that it sends to other replicas."""
    hints: list[Hint] = []
    return ChangeBus(ChatHub(subscriber_buffer=100), notify_replicas=hints.append), hints


def publish_to(change_bus: ChangeBus) -> CommitListener:
    """Return a listener that publishes what stores commit."""
    return CommitListener(
        on_commit=change_bus.publish,
        on_admit=change_bus.publish_admitted,
        on_delete=change_bus.publish_deleted,
        on_flush=change_bus.publish_parts,
    )


def make_reaper(
    database: Database,
    change_bus: ChangeBus,
    *,
    worker_id: UUID | None = None,
    max_recoveries: int = 3,
    sees_locks: Callable[[], bool] = lambda: True,
    unheld: UnheldChats | None = None,
    clock: Callable[[], float] = boottime,
) -> Reaper:
    listener = publish_to(change_bus)
    return Reaper(
        Reaps(database, worker_id=worker_id or uuid4(), listener=listener),
        Turns(database, listener=listener),
        ToolCalls(database, listener=listener),
        reap_interval_seconds=1.0,
        lease_seconds=LEASE_SECONDS,
        max_recoveries=max_recoveries,
        sees_locks=sees_locks,
        unheld=unheld or UnheldChats(),
        clock=clock,
    )


def make_janitor(database: Database, leases: Leases) -> Janitor:
    return Janitor(
        Sweeps(database),
        leases,
        Chats(database),
        event_retention_days=7,
        idempotency_retention_hours=6,
        output_retention_days=lambda: 7,
        lease_seconds=LEASE_SECONDS,
    )


def make_flusher(database: Database, change_bus: ChangeBus) -> Flusher:
    streams = StreamStore(database, listener=publish_to(change_bus))
    return Flusher(streams, flush_interval_seconds=0.1, flush_bytes=4096)
