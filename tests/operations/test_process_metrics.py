"""Metrics of a process and of its database."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from itertools import chain
from typing import Any

import anyio
import asyncpg
import pytest
from support.databases import database_on_server
from support.eventually import eventually
from support.factories import WORKER, chat_with_status, insert_models
from support.in_process import fetch_rows, running_daemon
from support.leases import age_heartbeat
from support.metrics import MetricsObserver, scrape
from support.providers import scripted

from chatd import __version__
from chatd.domain.chat import Status
from chatd.embedded import Postgres
from chatd.store.database import Database
from chatd.store.stats import DatabaseStats

QUICK = {"refresh_interval_seconds": 0.05}
IDLE = {"enabled": False}

MANY = """
INSERT INTO chats (id, root_chat_id, owner_id, last_model_config_id, status, pending_since)
SELECT id, id, 'owner ' || n % 200, (SELECT id FROM chat_model_configs LIMIT 1),
       CASE WHEN n % 10 = 0 THEN 'pending' ELSE 'waiting' END,
       CASE WHEN n % 10 = 0 THEN clock_timestamp() END
FROM (SELECT n, gen_random_uuid() AS id FROM generate_series(1, $1::int) n) made
"""


async def test_actor_restart_and_budget(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = [{"text": "one after the other", "chunks": 10, "delay_seconds": 0.05}]
    async with running_daemon(
        dsn, scripted(slow), stream={"flush_interval_seconds": 0.02}
    ) as chatd:
        meter = await MetricsObserver.start(chatd)
        await meter.wait_for_value("chatd_actor_up", 1, actor="flusher")
        left = (await meter.current()).sum_of("chatd_restart_budget_left", actor="flusher")
        broke = asyncio.Event()

        async def broken(_: object) -> None:
            broke.set()
            monkeypatch.undo()
            raise asyncpg.UndefinedColumnError("a bug, and no fault of a row")

        monkeypatch.setattr(chatd.daemon.services.store.stream_reads, "flush_parts", broken)
        await chatd.api.create("hello")
        await broke.wait()
        await meter.wait_for_increase("chatd_actor_restarts_total", actor="flusher")
        assert await meter.increase("chatd_actor_restarts_total") == 1
        after = await meter.current()
        assert after.sum_of("chatd_restart_budget_left", actor="flusher") == left - 1
        await meter.wait_for_value("chatd_actor_up", 1, actor="flusher")
        chatd.logs.clear()  # type: ignore[attr-defined] - that it failed was the point


async def test_blocked_loop_shows_as_lag(dsn: str) -> None:
    async with running_daemon(dsn) as chatd:
        meter = await MetricsObserver.start(chatd)
        time.sleep(0.7)  # noqa: ASYNC251 - to hold up the loop, which is the daemon's too

        async def lag_was_observed() -> bool:
            lag = "chatd_loop_lag_seconds"
            slow = await meter.increase(f"{lag}_count") - await meter.increase(
                f"{lag}_bucket", le="0.25"
            )
            return slow >= 1

        await eventually(lag_was_observed)
        assert await meter.increase("chatd_loop_lag_seconds_sum") >= 0.4


async def test_connection_pool_use_and_waits(dsn: str) -> None:
    async with running_daemon(dsn, worker={**IDLE, "poll_seconds": 600}) as chatd:
        meter, database = await MetricsObserver.start(chatd), chatd.daemon.services.database
        assert (await meter.current()).sum_of("chatd_pool_size") == 5
        wait = "SELECT pg_advisory_xact_lock_shared(1)"
        async with database.dedicated_connection() as other:
            await other.execute("SELECT pg_advisory_lock(1)")
            held = [asyncio.create_task(database.fetch(wait)) for _ in range(8)]
            await meter.wait_for_value("chatd_pool_in_use", 5)
            assert (await meter.current()).sum_of("chatd_pool_waiting") >= 3
            assert await meter.increase("chatd_statements_total") >= 8
            connecting = await meter.increase("chatd_pool_wait_seconds_total")
            began = anyio.current_time()
            await eventually(lambda: anyio.current_time() > began + 0.2)
            await other.execute("SELECT pg_advisory_unlock(1)")
            await asyncio.gather(*held)
        await meter.wait_for_value("chatd_pool_in_use", 0)
        await meter.wait_for_value("chatd_pool_waiting", 0)
        assert await meter.increase("chatd_pool_wait_seconds_total") >= connecting + 3 * 0.2


async def test_database_stats_by_status(dsn: str, database: Database) -> None:
    async with running_daemon(dsn, worker=IDLE, metrics=QUICK) as chatd:
        meter = await MetricsObserver.start(chatd)
        await meter.wait_for_value("chatd_database_reachable", 1)
        assert (await meter.current()).sum_of("chatd_oldest_pending_seconds") == 0
        model = {"last_model_config_id": chatd.daemon.catalog.default.id}
        for number, status in enumerate(Status, 1):
            for _ in range(number):
                await chat_with_status(database, status, **model)
        for number, status in enumerate(Status, 1):
            await meter.wait_for_value("chatd_chats", number, status=status)
        await fetch_rows(
            database,
            "UPDATE chats SET pending_since = now() - interval '1 hour' WHERE status = 'pending'",
        )
        await eventually(lambda: _is_hour_old(meter))
        await meter.wait_for_value("chatd_workers", 1)  # the worker of the leased chats
        await age_heartbeat(database, WORKER, 3600)
        await meter.wait_for_value("chatd_workers", 0)
        async with running_daemon(dsn):
            await meter.wait_for_value("chatd_workers", 1)


async def test_pending_chats_by_what_they_wait_for(dsn: str, database: Database) -> None:
    """A deferred chat counts as deferred until it is due, whether it is held or not."""
    async with running_daemon(dsn, worker=IDLE, metrics=QUICK) as chatd:
        meter = await MetricsObserver.start(chatd)
        model = {"last_model_config_id": chatd.daemon.catalog.default.id}
        later = {"next_attempt_at": datetime(2100, 1, 1, tzinfo=UTC), "attempts": 1}
        rows: dict[str, list[dict[str, Any]]] = {
            "due": [{}, {"recoveries": 2}],
            "deferred": [later, later | {"held": True}, later | {"recoveries": 1}],
            "held": [{"held": True}] * 4,
        }
        for row in chain.from_iterable(rows.values()):
            due_at = row.get("next_attempt_at", "now")
            await chat_with_status(
                database, Status.PENDING, **row | {"pending_since": due_at} | model
            )
        for state, expected in rows.items():
            await meter.wait_for_value("chatd_pending_chats", len(expected), state=state)
        await meter.wait_for_value("chatd_chats", 9, status="pending")


async def _is_hour_old(meter: MetricsObserver) -> bool:
    return 3600 <= (await meter.current()).sum_of("chatd_oldest_pending_seconds") < 3700


@pytest.fixture
async def stoppable_server() -> AsyncIterator[Postgres]:
    """Start a server that a test may stop."""
    async with Postgres() as server:
        yield server


async def test_database_stats_vanish_during_outage(stoppable_server: Postgres) -> None:
    async with (
        database_on_server(stoppable_server.dsn) as dsn,
        running_daemon(dsn, metrics=QUICK) as chatd,
    ):
        meter = await MetricsObserver.start(chatd)
        await meter.wait_for_value("chatd_database_reachable", 1)
        await stoppable_server.stop("immediate")
        await meter.wait_for_value("chatd_database_reachable", 0)
        assert list((await meter.current()).matching("chatd_chats")) == []
        await stoppable_server.start()
        await meter.wait_for_value("chatd_database_reachable", 1)
        await meter.wait_for_value("chatd_chats", 0, status="pending")


async def test_idle_chats_of_large_table_are_estimated(database: Database) -> None:
    await insert_models(database)
    await database.fetch(MANY, 500)
    exact = await DatabaseStats(database, lease_seconds=20).collect()
    assert exact.chats[Status.WAITING] == 450
    await database.fetch("ANALYZE chats")
    await database.fetch(MANY, 50)
    estimate = await DatabaseStats(database, lease_seconds=20, exact_count_max_bytes=0).collect()
    assert estimate.chats[Status.PENDING] == 55
    assert estimate.chats[Status.WAITING] == 445  # 500 were there when the table was analysed
    assert estimate.oldest_pending_seconds is not None


async def test_scrape_runs_no_statement(dsn: str, database: Database) -> None:
    async with running_daemon(
        dsn, worker=IDLE, metrics={"refresh_interval_seconds": 3600}
    ) as chatd:
        await database.fetch(MANY, 1000)
        await scrape(chatd)
        before = chatd.daemon.services.database.statement_count
        for _ in range(20):
            await scrape(chatd)
        assert chatd.daemon.services.database.statement_count - before <= 1  # a census, if any


async def test_version_and_memory_are_reported(dsn: str) -> None:
    async with running_daemon(dsn) as chatd:
        lag_was_observed = await scrape(chatd)
        assert lag_was_observed.sum_of("chatd_info", version=__version__) == 1
        assert lag_was_observed.sum_of("process_resident_memory_bytes") > 1_000_000
