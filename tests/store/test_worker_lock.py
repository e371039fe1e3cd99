"""The lock of a worker: one session holds it, and a stale one is terminated."""

import asyncio

from support.concurrency import row_locked, wait_until_blocked
from support.factories import WORKER, chat_with_status
from support.leases import REAPER, worker_lock_held

from chatd.domain.chat import Status
from chatd.store.database import Database
from chatd.store.leases import Leases


async def test_lock_cannot_be_held_by_two_sessions(database: Database) -> None:
    async with worker_lock_held(database, WORKER), database.dedicated_connection() as second:
        assert not await Leases(database, worker_id=WORKER).try_worker_lock(second)
        assert await Leases(database, worker_id=REAPER).try_worker_lock(second)


async def test_lock_is_proved_by_the_session_that_holds_it_alone(database: Database) -> None:
    """A session that a pooler shares may have taken it for another client of the pooler."""
    leases = Leases(database, worker_id=WORKER)
    async with database.dedicated_connection() as other, worker_lock_held(database, REAPER):
        assert not await leases.holds_worker_lock(other), "nobody has it"
        async with worker_lock_held(database, WORKER) as holder:
            assert await leases.holds_worker_lock(holder)
            assert not await leases.holds_worker_lock(other)


async def test_stale_session_of_the_worker_is_terminated(database: Database) -> None:
    """The end of a connection was lost on the network, and the server still has its session."""
    leases = Leases(database, worker_id=WORKER)
    async with worker_lock_held(database, WORKER), worker_lock_held(database, REAPER) as other:
        async with database.dedicated_connection() as connection:
            await leases.terminate_stale_session(connection)
            while not await leases.try_worker_lock(connection):
                pass
            await leases.terminate_stale_session(connection)
            assert await connection.fetchval("SELECT true"), "not its own session"
        assert await other.fetchval("SELECT true"), "nor another worker's"


async def test_session_inside_a_statement_is_not_terminated(
    database: Database,
) -> None:
    chat = await chat_with_status(database, Status.RUNNING)
    leases = Leases(database, worker_id=WORKER)
    async with (
        worker_lock_held(database, WORKER) as busy,
        database.dedicated_connection() as connection,
    ):
        async with row_locked(database, chat) as blocker:
            statement = asyncio.create_task(
                busy.fetchval("SELECT true FROM chats WHERE id = $1 FOR UPDATE", chat.id)
            )
            await wait_until_blocked(blocker)
            await leases.terminate_stale_session(connection)
        assert await statement
