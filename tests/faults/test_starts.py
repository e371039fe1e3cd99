"""A start is an outage like any other: probes are answered, no budget is spent, and a stop ends it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx2
import pytest
from structlog.testing import capture_logs
from support.eventually import TIMEOUT_SECONDS, eventually
from support.http import http_client
from support.in_process import settings
from support.postgres_proxy import PostgresProxy, ProxiedConnection
from support.providers import catalog, scripted
from support.scheduling_delay import measure_scheduling_delay
from support.sse_client import ApiClient

from chatd.daemon import Daemon
from chatd.store.migrations import migrate

PROMPT_SECONDS = 5.0
"""Less than an attempt to connect takes, which is ten seconds by default."""


@asynccontextmanager
async def starting_daemon(
    dsn: str, logs: list[Any], **sections: Any
) -> AsyncIterator[tuple[Daemon, "asyncio.Task[None]", httpx2.AsyncClient]]:
    """Start a daemon, and yield it as soon as it listens."""
    daemon = Daemon(settings(dsn, **sections), catalog=catalog(scripted()), handle_signals=False)
    task = asyncio.create_task(daemon.run())
    try:
        await eventually(
            lambda: [line for line in logs if line["event"] == "http.listening"] or task.done()
        )
        async with http_client(f"http://127.0.0.1:{daemon.port}") as http:
            yield daemon, task, http
    finally:
        daemon.stop()
        with anyio.fail_after(TIMEOUT_SECONDS):
            await asyncio.wait([task])
    task.result()


async def check_is_starting(http: httpx2.AsyncClient) -> None:
    assert (await http.get("/livez")).status_code == 200
    ready = await http.get("/readyz")
    assert (ready.status_code, ready.json()["detail"]) == (503, "Not ready: starting.")
    for refused in (await http.get("/api/v1/chats"), await http.post("/api/v1/chats", json={})):
        assert (refused.status_code, refused.json()["code"]) == (503, "not_ready")
        assert refused.headers["retry-after"] == "1"


async def is_ready(http: httpx2.AsyncClient) -> bool:
    """Return whether /readyz is 200. It goes by the last ping of the database."""
    return (await http.get("/readyz")).status_code == 200


async def check_serves(daemon: Daemon, http: httpx2.AsyncClient) -> None:
    with anyio.fail_after(TIMEOUT_SECONDS):
        await daemon.supervisor.ready.wait()
    await eventually(lambda: is_ready(http))
    api = ApiClient(http)
    await api.wait_for_status((await api.create("hello"))["id"], "waiting")
    assert {child.restarts for child in daemon.supervisor.snapshot()} == {0}


@pytest.mark.parametrize("migrates", [False, True], ids=["check", "migrate"])
@pytest.mark.parametrize("fault", ["stalled", "refusing"])
async def test_start_without_a_database_answers_probes_and_stops_at_once(
    proxy: PostgresProxy, fault: str, migrates: bool
) -> None:
    setattr(proxy, fault, True)
    with capture_logs() as logs:
        async with starting_daemon(proxy.dsn, logs, database={"migrate_on_start": migrates}) as (
            daemon,
            task,
            http,
        ):
            await check_is_starting(http)
            if fault == "stalled":
                await eventually(lambda: proxy.connections)
            async with measure_scheduling_delay() as delay:
                stopped_at = anyio.current_time()
                daemon.stop()
                await asyncio.wait([task], timeout=TIMEOUT_SECONDS)
            assert anyio.current_time() - stopped_at < PROMPT_SECONDS + delay.total
    assert [line for line in logs if line["event"].startswith("supervisor.child_")] == []


@pytest.mark.parametrize("migrates", [False, True], ids=["check", "migrate"])
async def test_start_without_a_database_goes_on_when_it_is_there(
    proxy: PostgresProxy, migrates: bool
) -> None:
    proxy.refusing = True
    with capture_logs() as logs:
        async with starting_daemon(proxy.dsn, logs, database={"migrate_on_start": migrates}) as (
            daemon,
            _,
            http,
        ):
            await eventually(lambda: began(logs, "database"))
            await check_is_starting(http)
            proxy.refusing = False
            await check_serves(daemon, http)


def began(logs: list[Any], child: str) -> bool:
    return any(line["event"] == "outage.began" and line["child"] == child for line in logs)


def stall(proxy: PostgresProxy, connection: ProxiedConnection) -> None:
    proxy.stalled = True
    connection.flowing.clear()


def cut(_: PostgresProxy, connection: ProxiedConnection) -> None:
    connection.cut()


def break_at(proxy: PostgresProxy, words: bytes, fault: Callable[..., None]) -> anyio.Event:
    """Break the first connection that sends these words. Return the event of that."""
    broken = anyio.Event()

    def break_once(connection: ProxiedConnection, data: bytes) -> None:
        if words in data and not broken.is_set():
            broken.set()
            fault(proxy, connection)

    proxy.on_sent = break_once
    return broken


MOMENTS = {
    "schema check": b"server_check.server",
    "migrations": b"chatd_schema_migrations",
    "settings": b"settings_in_force",
    "models": b"models.upsert",
    "names of models": b"models.names",
    "listener": b"LISTEN",
    "lock": b"try_worker_lock",
    "first beat": b"leases.renew",
}
"""Statements of a start, by what they are part of."""


@pytest.mark.parametrize("fault", [cut, stall], ids=["cut", "stalled"])
@pytest.mark.parametrize("moment", MOMENTS)
async def test_outage_that_begins_during_the_start_is_waited_out(
    proxy: PostgresProxy, moment: str, fault: Callable[..., None]
) -> None:
    """The connection breaks in the middle of a statement. The start goes on once there is another one."""
    broken = break_at(proxy, MOMENTS[moment], fault)
    short = {"connect_timeout_seconds": 0.5, "statement_timeout_seconds": 0.5}
    with capture_logs() as logs:
        async with starting_daemon(proxy.dsn, logs, database=short) as (daemon, _, http):
            with anyio.fail_after(TIMEOUT_SECONDS):
                await broken.wait()
            await eventually(lambda: any(line["event"] == "outage.began" for line in logs))
            await check_is_starting(http)
            proxy.stalled = False
            await check_serves(daemon, http)
            proxy.cut()
    assert not [line for line in logs if line["event"].startswith("supervisor.child_failed")]


MIGRATION_MOMENTS = {
    "server check": b"server_check.server",
    "lock": b"pg_try_advisory_lock",
    "permission": b"server_check.may_create",
    "table of migrations": b"CREATE TABLE IF NOT EXISTS chatd_schema_migrations",
    "versions": b"FROM chatd_schema_migrations",
}
"""Statements of a start that migrates, before the migrations themselves."""


@pytest.mark.parametrize("fault", [cut, stall], ids=["cut", "stalled"])
@pytest.mark.parametrize("moment", MIGRATION_MOMENTS)
async def test_outage_that_begins_during_a_migration_is_waited_out(
    proxy: PostgresProxy,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
    fault: Callable[..., None],
) -> None:
    monkeypatch.setattr(migrate, "_CHECK_TIMEOUT_SECONDS", 0.5)
    broken = break_at(proxy, MIGRATION_MOMENTS[moment], fault)
    with capture_logs() as logs:
        async with starting_daemon(proxy.dsn, logs, database={"migrate_on_start": True}) as (
            daemon,
            _,
            http,
        ):
            with anyio.fail_after(TIMEOUT_SECONDS):
                await broken.wait()
            await eventually(lambda: began(logs, "database"))
            await check_is_starting(http)
            proxy.stalled = False
            proxy.cut()  # or the server keeps the lock of the session, as long as it believes in it
            await check_serves(daemon, http)
    assert not [line for line in logs if line["event"].startswith("supervisor.child_failed")]


async def test_server_gives_up_a_migrating_client_that_is_gone(proxy: PostgresProxy) -> None:
    """It keeps the lock of migrations meanwhile, for which others wait for a minute."""
    async with migrate._open_connection(proxy.dsn) as connection:
        idle, interval, count = [
            int(await connection.fetchval(f"SHOW tcp_keepalives_{name}"))
            for name in ("idle", "interval", "count")
        ]
    assert 0 < idle + interval * count < 60


async def test_start_goes_on_where_its_connection_was_cut(proxy: PostgresProxy) -> None:
    """Or a start would never end while connections break more often than it takes."""
    once, again = b"server_check.server", (b"settings_in_force", b"models.upsert", b"models.names")
    sent: list[bytes] = []

    def cut_once(connection: ProxiedConnection, data: bytes) -> None:
        for name in (once, *again):
            if name in data:
                sent.append(name)
                if name in again and sent.count(name) == 1:
                    connection.cut()

    proxy.on_sent = cut_once
    with capture_logs() as logs:
        async with starting_daemon(proxy.dsn, logs) as (daemon, _, http):
            await check_serves(daemon, http)
    assert {name: sent.count(name) for name in (once, *again)} == {
        once: 1,
        b"settings_in_force": 2,
        b"models.upsert": 3,  # the names are read with it
        b"models.names": 2,
    }


async def test_message_that_may_be_claimed_at_once_is_answered_at_the_stop(
    proxy: PostgresProxy,
) -> None:
    """Its statement holds up no stop, although its response may be the only word of a claim."""
    long = {"statement_timeout_seconds": 60.0, "connect_timeout_seconds": 60.0}
    with capture_logs() as logs:
        async with starting_daemon(proxy.dsn, logs, database=long) as (daemon, task, http):
            await daemon.supervisor.ready.wait()
            chat = await ApiClient(http).create()
            sent = asyncio.Event()

            def stall(connection: ProxiedConnection, data: bytes) -> None:
                if b"claims.send_and_claim" in data:
                    proxy.stall()
                    sent.set()

            proxy.on_sent = stall
            path = f"/api/v1/chats/{chat['id']}/messages"
            message = asyncio.create_task(http.post(path, json={"content": "hello"}))
            await sent.wait()
            daemon.stop()
            daemon.stop()
            answer = await message
            assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")
            proxy.resume()
            await asyncio.wait([task], timeout=TIMEOUT_SECONDS)
            assert task.done()
    assert [line for line in logs if line["event"] == "http.unexpected"] == []


async def test_request_that_waits_for_a_stalled_database_is_answered_at_the_stop(
    proxy: PostgresProxy,
) -> None:
    long = {"statement_timeout_seconds": 60.0, "connect_timeout_seconds": 60.0}
    with capture_logs() as logs:
        async with starting_daemon(
            proxy.dsn, logs, database=long, worker={"enabled": False}, http={"drain_seconds": 0}
        ) as (daemon, task, http):
            await daemon.supervisor.ready.wait()
            chat = await ApiClient(http).create()
            proxy.stall()
            requests = [
                asyncio.create_task(http.get(f"/api/v1/chats/{chat['id']}")),
                asyncio.create_task(http.post("/api/v1/chats", json={})),
            ]
            await eventually(lambda: len(daemon.server._admission._unanswered) == 2)
            daemon.stop()
            for answer in await asyncio.gather(*requests):
                assert answer.status_code == 503, answer.text
                assert answer.json()["code"] == "not_ready"
                assert answer.headers["content-type"] == "application/problem+json"
            await asyncio.wait([task], timeout=TIMEOUT_SECONDS)
            assert task.done()
            proxy.cut()
    assert [line for line in logs if line["event"] == "http.unexpected"] == []
