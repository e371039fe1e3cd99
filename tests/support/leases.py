"""Leases of chats: fencing tokens, worker locks, old heartbeats and reapers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

from chatd.domain.chat import Chat
from chatd.domain.outcomes import ReapReason
from chatd.store.commits import NO_LISTENER, CommitListener
from chatd.store.connector import Connection
from chatd.store.database import Database
from chatd.store.leases import Leases
from chatd.store.reaps import OrphanedInterrupt, Reaps, ReapTarget
from chatd.store.records import TransitionResult
from chatd.store.turns import FencingToken

REAPER = UUID("00000000-0000-4000-8000-00000000dead")

LEASE = 20.0
"""Length of a lease in seconds."""


def fencing_token_of(chat: Chat) -> FencingToken:
    """Return the fencing token of a leased chat."""
    assert chat.worker_id is not None
    return FencingToken(chat.id, chat.worker_id, chat.epoch)


async def reap_targets(
    database: Database, *, reaper: UUID = REAPER, lease_seconds: float = LEASE
) -> list[ReapTarget]:
    """Look once. Return a target for each missing worker, as if it were the second look."""
    look = await Reaps(database, worker_id=reaper).look(lease_seconds=lease_seconds)
    return [
        ReapTarget(
            worker.worker_id,
            ReapReason.WORKER_DEAD if worker.lock_free else ReapReason.LEASE_EXPIRED,
            heartbeat_at=worker.heartbeat_at,
        )
        for worker in look.missing
    ]


async def reap(
    database: Database,
    *,
    reaper: UUID = REAPER,
    lease_seconds: float = LEASE,
    max_recoveries: int = 3,
    limit: int = 100,
    listener: CommitListener = NO_LISTENER,
) -> list[TransitionResult]:
    """Reap once, as a worker that holds no chat."""
    targets = await reap_targets(database, reaper=reaper, lease_seconds=lease_seconds)
    reaps = Reaps(database, worker_id=reaper, listener=listener)
    return await reaps.reap(targets, max_recoveries=max_recoveries, limit=limit)


async def orphaned_interrupts(
    database: Database, *, reaper: UUID = REAPER, lease_seconds: float = LEASE
) -> list[OrphanedInterrupt]:
    """Return the interrupting chats of dead workers, as a worker that holds no chat."""
    targets = await reap_targets(database, reaper=reaper, lease_seconds=lease_seconds)
    return await Reaps(database, worker_id=reaper).orphaned_interrupts(targets)


async def age_heartbeat(database: Database, worker_id: UUID, seconds: float) -> None:
    """Set the last heartbeat of a worker to ``seconds`` ago."""
    await database.fetch(
        "UPDATE workers SET heartbeat_at = clock_timestamp() - make_interval(secs => $2)"
        " WHERE worker_id = $1",
        worker_id,
        seconds,
    )


async def orphan_chats(database: Database, *chat_ids: UUID | str) -> None:
    """Have leased chats name a worker that is not registered, so that any reaper takes them."""
    await database.fetch(
        "UPDATE chats SET worker_id = $1 WHERE id = ANY($2::uuid[]) AND worker_id IS NOT NULL",
        uuid4(),
        [UUID(str(chat_id)) for chat_id in chat_ids],
    )


@asynccontextmanager
async def worker_lock_held(database: Database, worker_id: UUID) -> AsyncIterator[Connection]:
    """Hold the lock of a worker on a connection of its own."""
    async with database.dedicated_connection() as connection:
        assert await Leases(database, worker_id=worker_id).try_worker_lock(connection)
        yield connection
