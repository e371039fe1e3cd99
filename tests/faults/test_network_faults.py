"""Network faults between chatd and PostgreSQL: no turn is lost or doubled, and no request hangs."""

import asyncio
import functools
from collections.abc import AsyncIterator

import anyio
import asyncpg
import httpx2
import pytest
from support.eventually import eventually
from support.in_process import InProcessDaemon, running_daemon
from support.network_faults import all_idle, equals, transition_counts
from support.outages import message_is_accepted, wait_until_not_ready
from support.postgres_proxy import PostgresProxy, ProxiedConnection
from support.providers import FunctionProvider, finished, text_delta
from support.scheduling_delay import measure_scheduling_delay
from support.sse_client import ChatView

from chatd.daemon.wiring import actors
from chatd.llm.provider import Delta, ModelRequest
from chatd.store.database import Database
from chatd.store.notifications.listener import Listener

SHORT_TIMEOUTS = {"connect_timeout_seconds": 1.0, "statement_timeout_seconds": 1.0}

BOUNDED_SECONDS = 15.0
"""A few statement timeouts on a busy machine; far less than all requests would take in a row."""


class PausedProvider:
    """A provider that streams two words, and the rest once ``go`` is set."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.started = 0
        self.provider = FunctionProvider(self._stream)

    async def _stream(self, _: ModelRequest) -> AsyncIterator[Delta]:
        yield text_delta("Let me ")
        self.started += 1
        await self.go.wait()
        yield text_delta("see.")
        yield finished()


async def pool_is_whole(database: Database, inspector: asyncpg.Connection, size: int) -> None:
    """Check that as many statements as the pool has connections run at the same time."""
    await inspector.execute("SELECT pg_advisory_lock(1)")
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(size):
                group.create_task(database.fetch("SELECT pg_advisory_xact_lock_shared(1)"))
            waiting = (
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
                " AND objid = 1 AND objsubid = 1"
                " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
            try:
                await eventually(lambda: equals(inspector.fetchval(waiting), size))
            finally:
                await inspector.execute("SELECT pg_advisory_unlock(1)")
    finally:
        await inspector.execute("SELECT pg_advisory_unlock_all()")


async def test_connection_cut_during_a_turn_loses_nothing(
    proxy: PostgresProxy, inspector: asyncpg.Connection
) -> None:
    """All connections break, three times over, while twenty turns run."""
    paused = PausedProvider()
    async with running_daemon(proxy.dsn, paused.provider) as chatd:
        ids = [(await chatd.api.create("hello"))["id"] for _ in range(20)]
        await eventually(lambda: paused.started == 20)
        for last in (False, False, False, True):
            accepted = proxy.accepted
            proxy.cut()
            if last:
                paused.go.set()  # All turns are stored at the moment of the cut.
            await eventually(lambda accepted=accepted: proxy.accepted >= accepted + 2)
        for chat_id in ids:
            await chatd.api.wait_for_status(chat_id, "waiting")
            assert await chatd.api.texts(chat_id) == ["Let me see."]
        assert len(paused.provider.requests) == 20
        assert await transition_counts(inspector) == dict.fromkeys(
            ("create", "claim", "finish_turn"), 20
        )
        for event in ("supervisor.child_restarted", "chat.lost", "chat.reaped"):
            assert not chatd.logged(event)
        await eventually(
            lambda: (
                {line["child"] for line in chatd.logged("outage.ended")}
                >= {"listener", "heartbeat"}
            )
        )


async def test_refused_connections_are_waited_out(proxy: PostgresProxy) -> None:
    async with running_daemon(proxy.dsn, database=SHORT_TIMEOUTS) as chatd:
        chat = await chatd.api.create()
        proxy.refusing = True
        proxy.cut()

        async def refused() -> bool:
            answer = await chatd.api.http.get(f"/api/v1/chats/{chat['id']}")
            return answer.status_code == 503 and answer.json()["code"] == "database_unavailable"

        await eventually(refused)
        assert (await chatd.api.http.get("/livez")).status_code == 200
        await wait_until_not_ready(chatd)
        proxy.refusing = False
        await eventually(lambda: message_is_accepted(chatd, chat["id"]))
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert (await chatd.api.texts(chat["id"]))[-1] == "You said: again"


@pytest.mark.parametrize("forget", [False, True], ids=["late", "never"])
async def test_stalled_connection_is_answered_in_time(
    proxy: PostgresProxy, inspector: asyncpg.Connection, forget: bool
) -> None:
    """Sixty requests use a stalled connection and a pool of two."""
    database, limits = SHORT_TIMEOUTS | {"pool_size": 2}, {"max_requests": 0}
    async with running_daemon(proxy.dsn, database=database, limits=limits) as chatd:
        chat = await chatd.api.create("hello")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        path = f"/api/v1/chats/{chat['id']}"

        async def request(number: int) -> httpx2.Response:
            requests = [
                ("GET", path),
                ("GET", f"{path}/stream"),
                ("GET", f"{path}/messages"),
                ("POST", f"{path}/messages"),
                ("POST", "/api/v1/chats"),
            ]
            method, request_path = requests[number % len(requests)]
            body = {"content": "lost"} if method == "POST" else None
            return await chatd.api.http.request(method, request_path, json=body)

        proxy.stall()
        async with measure_scheduling_delay() as delay:
            started_at = anyio.current_time()
            answers = await asyncio.gather(*map(request, range(60)))
            seconds = anyio.current_time() - started_at
        assert seconds < BOUNDED_SECONDS + delay.total
        assert {answer.status_code for answer in answers} == {503}
        assert {answer.json()["code"] for answer in answers} == {"database_unavailable"}
        await wait_until_not_ready(chatd)
        assert (await chatd.api.http.get("/livez")).status_code == 200
        await eventually(lambda: logged_children(chatd, "outage.began"))
        proxy.resume(forget=forget)
        await eventually(lambda: message_is_accepted(chatd, chat["id"]))
        await eventually(lambda: all_idle(inspector))
        await eventually(
            lambda: logged_children(chatd, "outage.ended") == logged_children(chatd, "outage.began")
        )
        await pool_is_whole(chatd.daemon.services.database, inspector, 2)
        assert not chatd.logged("supervisor.child_restarted")
        proxy.cut()  # Also the connections that were forgotten.


def logged_children(chatd: InProcessDaemon, event: str) -> list[str]:
    """Return the actors of a log event."""
    return sorted(line["child"] for line in chatd.logged(event))


@pytest.mark.slow
async def test_shutdown_does_not_wait_for_a_dead_connection(
    proxy: PostgresProxy, inspector: asyncpg.Connection
) -> None:
    """A release cannot reach the database. The process stops in order all the same."""
    paused = PausedProvider()
    async with running_daemon(proxy.dsn, paused.provider, database=SHORT_TIMEOUTS) as chatd:
        await chatd.api.create("hello")
        await eventually(lambda: paused.started)
        proxy.stall()
        await chatd.stop()
        assert await inspector.fetchval("SELECT status FROM chats") == "running", (
            "left to the reaper"
        )
        proxy.cut()


async def test_slow_connection_is_not_unavailable(
    proxy: PostgresProxy, inspector: asyncpg.Connection
) -> None:
    async with running_daemon(proxy.dsn) as chatd:
        proxy.delay_seconds = 0.02
        chats = await asyncio.gather(*(chatd.api.create("hello") for _ in range(20)))
        for chat in chats:
            await chatd.api.wait_for_status(chat["id"], "waiting")
        assert await transition_counts(inspector) == dict.fromkeys(
            ("create", "claim", "finish_turn"), 20
        )
        assert not chatd.logged("outage.began")


def listening(proxy: PostgresProxy) -> list[ProxiedConnection]:
    return [connection for connection in proxy.connections if b"LISTEN" in connection.sent]


@pytest.mark.parametrize("probes", [False, True], ids=["polled", "probed"])
async def test_deaf_listener_reconnects(
    tcp_server_dsn: str, proxy: PostgresProxy, monkeypatch: pytest.MonkeyPatch, probes: bool
) -> None:
    """With a stalled connection, polling finds everything, or a probe fails and the listener reconnects."""
    probe_seconds = 0.2 if probes else 600.0
    monkeypatch.setattr(
        actors, "Listener", functools.partial(Listener, probe_seconds=probe_seconds)
    )
    worker = {"poll_seconds": 600.0 if probes else 0.2}
    async with (
        running_daemon(tcp_server_dsn, worker={"enabled": False}) as front,
        running_daemon(proxy.dsn, worker=worker, database=SHORT_TIMEOUTS) as back,
    ):
        [connection] = await eventually(lambda: listening(proxy))
        connection.flowing.clear()
        if probes:
            await back.wait_for_log("outage.began", child="listener")
            await back.wait_for_log("outage.ended", child="listener")
            assert len(listening(proxy)) == 2
        chat = await front.api.create()
        view = ChatView()
        following = asyncio.create_task(
            back.api.follow(chat["id"], view, lambda view: len(view.messages) == 2)
        )
        await eventually(lambda: view.status)
        await front.api.send(chat["id"], "hello")
        await following
        assert list(view.messages.values()) == ["hello", "You said: hello"]
        assert bool(back.logged("outage.began", child="listener")) is probes
        connection.cut()
