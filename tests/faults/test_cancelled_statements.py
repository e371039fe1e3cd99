"""Statements that are cancelled while the database is slow leave nothing behind that nobody looks at."""

import asyncio
import gc
import random
from contextlib import suppress
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from support.eventually import eventually
from support.postgres_proxy import PostgresProxy

from chatd import logs
from chatd.domain.errors import DatabaseUnavailable
from chatd.store.database import Database

CALLERS = 40
POOL_SIZE = 4


@pytest.mark.parametrize("fault", ["slow", "stalled", "cut"])
async def test_cancelled_statements_leave_no_exception_unseen(
    proxy: PostgresProxy, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    unseen: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "default_exception_handler", unseen.append)
    loop.set_exception_handler(logs.log_unhandled)
    database = Database(
        proxy.dsn, pool_size=POOL_SIZE, connect_timeout_seconds=5.0, statement_timeout_seconds=1.0
    )
    await database.open()
    chance = random.Random(5)
    may_end = anyio.Event()

    async def cancel_statements() -> None:
        """Cancel one statement after the other, and the last one after the fault."""
        while True:
            is_last = may_end.is_set()
            with anyio.move_on_after(chance.random()), suppress(DatabaseUnavailable):
                await database.fetch("SELECT pg_sleep(0.3)")
            if is_last:
                return

    try:
        async with anyio.create_task_group() as group:  # connect before the network is slow
            for _ in range(POOL_SIZE):
                group.start_soon(database.fetch, "SELECT pg_sleep(0.1)")
        proxy.delay_seconds = 0.1
        async with anyio.create_task_group() as group:
            for _ in range(CALLERS):
                group.start_soon(cancel_statements)
            await eventually(lambda: database.connections_in_use > 1)
            if fault == "stalled":
                proxy.stall()
            elif fault == "cut":
                proxy.cut()
            may_end.set()
        proxy.resume()
        proxy.delay_seconds = 0.0
        assert (await database.fetch("SELECT 1 AS one"))[0]["one"] == 1
    finally:
        await database.close(timeout_seconds=2.0)
        proxy.cut()
    await anyio.lowlevel.checkpoint()
    gc.collect()
    await anyio.lowlevel.checkpoint()
    assert unseen == []
