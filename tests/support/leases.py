"""Leases of chats: fencing tokens, worker locks, old heartbeats and reapers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from chatd.domain.chat import Chat
from chatd.store.connector import Connection
from chatd.store.database import Database
from chatd.store.leases import Leases
from chatd.store.records import TransitionResult
from chatd.store.turns import FencingToken

REAPER = UUID("00000000-0000-4000-8000-00000000dead")

LEASE = 20.0
"""Length of a lease in seconds."""


def fencing_token_of(chat: Chat) -> FencingToken:
    """Return the fencing token of a leased chat."""
    assert chat.worker_id is not None
    return FencingToken(chat.id, chat.worker_id, chat.epoch)


async def reap(
    database: Database, *, reaper: UUID = REAPER, max_recoveries: int = 3
) -> list[TransitionResult]:
    """Reap once, as a worker that holds no chat."""
    leases = Leases(database, worker_id=reaper)
    return await leases.reap(lease_seconds=LEASE, max_recoveries=max_recoveries)


async def age_heartbeat(database: Database, chat: Chat, seconds: float) -> None:
    """Set a chat's last heartbeat to ``seconds`` ago."""
    await database.fetch(
        "UPDATE chats SET heartbeat_at = clock_timestamp() - make_interval(secs => $2)"
        " WHERE id = $1",
        chat.id,
        seconds,
    )


@asynccontextmanager
async def worker_lock_held(database: Database, worker_id: UUID) -> AsyncIterator[Connection]:
    """Hold the lock of a worker on a connection of its own."""
    async with database.dedicated_connection() as connection:
        assert await Leases(database, worker_id=worker_id).try_worker_lock(connection)
        yield connection
