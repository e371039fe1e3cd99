"""The pool of connections: its bound, its waiters, and a server that grants fewer connections."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
import pytest
from structlog.testing import capture_logs
from support.concurrency import gather_all
from support.eventually import eventually
from support.roles import Role, temporary_role

from chatd.domain.errors import DatabaseUnavailable
from chatd.store.connector import Connection
from chatd.store.database import Database
from chatd.store.pool import ConnectionPool


@asynccontextmanager
async def pool_of(dsn: str, size: int) -> AsyncIterator[tuple[Database, ConnectionPool]]:
    database = Database(dsn, pool_size=size)
    await database.open()
    assert database._pool is not None
    database._pool._open_after_seconds = 0.0
    try:
        yield database, database._pool
    finally:
        await database.close()


@pytest.fixture
async def limited(server: str) -> AsyncIterator[Role]:
    """Yield a role that may have three connections."""
    async with temporary_role(server) as role:
        await role.execute("ALTER ROLE {role} CONNECTION LIMIT 3")
        yield role


async def work(database: Database, count: int) -> None:
    await gather_all(*(database.fetch("SELECT pg_sleep(0.002)") for _ in range(count)))


async def work_until(database: Database, pool: ConnectionPool, *, connections: int) -> None:
    async def grown() -> bool:
        await work(database, 100)
        return pool.open_count == pool.limit == connections

    await eventually(grown)


async def test_statements_share_at_most_the_size(dsn: str) -> None:
    async with pool_of(dsn, 4) as (database, pool):
        await work_until(database, pool, connections=4)
        assert (pool.in_use_count, pool.waiting_count) == (0, 0)


async def test_pool_shrinks_to_what_the_role_gets_and_grows_again(limited: Role) -> None:
    """No statement fails, although most connections are refused."""
    async with pool_of(limited.dsn, 10) as (database, pool):
        with capture_logs() as logs:
            await work_until(database, pool, connections=3)
        shrunk = [line for line in logs if line["event"] == "database.pool_shrunk"]
        assert [(line["connections"] <= 3, line["size"]) for line in shrunk] == [(True, 10)]
        pool._grow_after_seconds = 0.0
        await work(database, 100)  # each attempt to grow fails, and no statement does
        assert pool.open_count == 3
        await limited.execute("ALTER ROLE {role} CONNECTION LIMIT 20")
        await work_until(database, pool, connections=10)


async def test_role_without_any_connection_is_unavailable(limited: Role) -> None:
    await limited.execute("ALTER ROLE {role} CONNECTION LIMIT 0")
    async with pool_of(limited.dsn, 5) as (database, pool):
        connect, attempts = pool._connect, 0

        async def counted() -> Connection:
            nonlocal attempts
            attempts += 1
            return await connect()

        pool._connect = counted
        outcomes = await asyncio.gather(
            *(database.fetch("SELECT 1") for _ in range(20)), return_exceptions=True
        )
        assert {type(outcome) for outcome in outcomes} == {DatabaseUnavailable}
        assert attempts <= 20 + 5, "one for each caller, and those that were made at once"
        await limited.execute("ALTER ROLE {role} CONNECTION LIMIT 3")
        await work(database, 20)


async def test_pool_yields_a_connection_to_a_dedicated_one(limited: Role) -> None:
    """The listener and the heartbeat are not kept out by a pool that took all connections."""
    async with pool_of(limited.dsn, 10) as (database, pool):
        await work_until(database, pool, connections=3)

        async def dedicated() -> bool:
            with suppress(DatabaseUnavailable):
                async with database.dedicated_connection() as connection:
                    await work(database, 50)
                    return bool(await connection.fetchval("SELECT true"))
            return False

        await eventually(dedicated)
        assert pool.open_count == 2


async def test_cancelled_waiters_leave_no_trace(dsn: str) -> None:
    async with pool_of(dsn, 2) as (database, pool), asyncio.TaskGroup() as group:
        tasks = [group.create_task(work(database, 5)) for _ in range(20)]
        await eventually(lambda: pool.waiting_count > 50)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.wait(tasks)
        assert (pool.in_use_count, pool.waiting_count, pool._slots_taken) == (0, 0, 0)
        await work(database, 10)


async def test_cancelled_statement_ends_on_the_server(dsn: str, database: Database) -> None:
    running = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(61)'"

    async def count() -> int:
        rows = await database.fetch(f"{running} AND state = 'active'")
        return int(rows[0][0])

    async with pool_of(dsn, 1) as (other, _), anyio.create_task_group() as group:
        group.start_soon(other.fetch, "SELECT pg_sleep(61)")
        await eventually(count)
        group.cancel_scope.cancel()
    assert await count() == 0


async def test_close_waits_for_statements_and_refuses_new_ones(dsn: str) -> None:
    async with pool_of(dsn, 1) as (database, pool), asyncio.TaskGroup() as group:
        running = group.create_task(database.fetch("SELECT pg_sleep(0.2)"))
        await eventually(lambda: pool.in_use_count)
        waiting = group.create_task(refused(database))
        await eventually(lambda: pool.waiting_count)
        await database.close()
        assert running.done()
        assert len(running.result()) == 1
        await waiting
        await refused(database)


async def refused(database: Database) -> None:
    with pytest.raises(DatabaseUnavailable):
        await database.fetch("SELECT 1")


async def test_connection_that_comes_back_is_used_before_one_is_opened(dsn: str) -> None:
    async with pool_of(dsn, 10) as (database, pool):
        pool._open_after_seconds = 30.0
        await work(database, 30)
        assert pool.open_count == 1


async def test_connection_that_comes_back_is_given_to_who_waits_longest(dsn: str) -> None:
    async with pool_of(dsn, 10) as (database, pool):
        pool._open_after_seconds = 30.0
        statements = 0

        async def use_again_and_again() -> None:
            nonlocal statements
            while not other.done():
                await database.fetch("SELECT 1")
                statements += 1
                assert statements < 50

        await database.fetch("SELECT 1")
        first = asyncio.create_task(use_again_and_again())
        other = asyncio.create_task(database.fetch("SELECT 2"))
        await asyncio.wait([first, other])
        assert statements <= 2
        cancelled = [asyncio.create_task(database.fetch("SELECT 3")) for _ in range(9)]
        await asyncio.sleep(0)
        for task in cancelled[::2]:
            task.cancel()
        await asyncio.wait(cancelled)
        assert (pool.in_use_count, pool._slots_taken, len(pool._takers)) == (0, 0, 0)
        await first


async def test_slow_statement_keeps_no_other_waiting(dsn: str) -> None:
    async with pool_of(dsn, 2) as (database, pool), asyncio.TaskGroup() as group:
        pool._open_after_seconds = 0.01
        slow = group.create_task(database.fetch("SELECT pg_sleep(61)"))
        await eventually(lambda: pool.in_use_count == 1)
        assert await database.fetch("SELECT 1")
        assert pool.open_count == 2
        slow.cancel()
