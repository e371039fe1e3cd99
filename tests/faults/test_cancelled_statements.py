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

STATEMENTS = 40


@pytest.mark.parametrize("fault", ["slow", "stalled", "cut"])
async def test_cancelled_statements_leave_no_exception_unseen(
    proxy: PostgresProxy, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    unseen: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "default_exception_handler", unseen.append)
    loop.set_exception_handler(logs.log_unhandled)
    database = Database(
        proxy.dsn, pool_size=4, connect_timeout_seconds=1.0, statement_timeout_seconds=1.0
    )
    await database.open()
    chance = random.Random(5)

    async def cancelled() -> None:
        with anyio.move_on_after(chance.random()), suppress(DatabaseUnavailable):
            await database.fetch("SELECT pg_sleep(0.3)")

    try:
        await database.fetch("SELECT 1")
        proxy.delay_seconds = 0.1
        async with anyio.create_task_group() as group:
            for _ in range(STATEMENTS):
                group.start_soon(cancelled)
            await eventually(lambda: database.connections_in_use > 1)
            if fault == "stalled":
                proxy.stall()
            elif fault == "cut":
                proxy.cut()
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
