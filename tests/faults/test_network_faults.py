"""The wire to the database is cut, stalled, or loses an answer: nothing is lost, doubled or hung."""

import asyncio
import functools
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit
from uuid import UUID

import anyio
import asyncpg
import httpx2
import pytest
from support.databases import database_on_server
from support.eventually import eventually
from support.in_process import InProcessDaemon, running_daemon, running_daemons
from support.providers import FunctionProvider, finished, scripted, text_delta
from support.scheduling_delay import measure_scheduling_delay
from support.sse_client import ChatView

from chatd.daemon.wiring import actors
from chatd.embedded import Postgres
from chatd.llm.provider import Delta, ModelRequest
from chatd.store.database import Database
from chatd.store.notifications.listener import Listener

BRISK = {"connect_timeout_seconds": 1.0, "statement_timeout_seconds": 1.0}
BOUNDED_SECONDS = 15.0
"""A few statement timeouts on a busy machine; far less than all requests would take in a row."""


class Line:
    """One connection through the wire."""

    def __init__(self, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        self.sent = bytearray()
        self.flows = asyncio.Event()
        self.flows.set()
        self.mute = False
        """Whether what the server says is thrown away."""
        self._ends = near, far

    def cut(self) -> None:
        """Both ends see the connection break."""
        for end in self._ends:
            end.transport.abort()
        self.flows.set()


class Wire:
    """Between a chatd and its PostgreSQL. Stalled, it says nothing at all: no FIN, no RST."""

    def __init__(self, dsn: str) -> None:
        self._place = urlsplit(dsn)
        self.lines: set[Line] = set()
        self.carried = 0
        self.refusing = False
        self.stalled = False
        self.delay_seconds = 0.0
        self.on_sent: Callable[[Line, bytes], None] = lambda _line, _data: None
        self.port = 0

    @property
    def dsn(self) -> str:
        """The address of the near end."""
        place = self._place
        near = f"{place.username}:{place.password}@127.0.0.1:{self.port}"
        return place._replace(netloc=near).geturl()

    def cut(self) -> None:
        for line in tuple(self.lines):
            line.cut()

    def stall(self) -> None:
        """Nothing arrives any more, on new connections either."""
        self.stalled = True
        for line in self.lines:
            line.flows.clear()

    def flow(self, *, forget: bool = False) -> None:
        """What is new passes. What piled up arrives late, or never if the path forgot the old lines."""
        self.stalled = False
        for line in self.lines:
            if not forget:
                line.flows.set()

    async def serve(self, near: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        if self.refusing:
            answer.transport.abort()
            return
        place = self._place
        far, ask = await asyncio.open_connection(place.hostname, place.port)
        line = Line(answer, ask)
        if self.stalled:
            line.flows.clear()
        self.lines.add(line)
        self.carried += 1
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(line, near, ask, asks=True))
                group.create_task(self._pump(line, far, answer, asks=False))
        finally:
            self.lines.discard(line)
            line.cut()

    async def _pump(
        self,
        line: Line,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        *,
        asks: bool,
    ) -> None:
        try:
            while data := await source.read(65536):
                if asks:
                    line.sent += data
                    self.on_sent(line, data)
                await line.flows.wait()
                if self.delay_seconds:
                    await asyncio.sleep(self.delay_seconds)
                if asks or not line.mute:
                    sink.write(data)
                    await sink.drain()
            await line.flows.wait()
            sink.close()
        except ConnectionError:
            line.cut()


@asynccontextmanager
async def wired(dsn: str) -> AsyncIterator[Wire]:
    wire = Wire(dsn)
    serving: set[asyncio.Task[None]] = set()

    def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(wire.serve(reader, writer))
        serving.add(task)
        task.add_done_callback(serving.discard)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    wire.port = server.sockets[0].getsockname()[1]
    async with server:
        try:
            yield wire
        finally:
            for task in tuple(serving):
                task.cancel()
            await asyncio.gather(*serving, return_exceptions=True)


def free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])


@pytest.fixture(scope="module")
def tcp_server() -> Iterator[Postgres]:
    with Postgres(port=free_port(), settings={"max_connections": "40"}) as own:
        yield own


@pytest.fixture
async def tcp_server_dsn(tcp_server: Postgres) -> AsyncIterator[str]:
    """A database that can be reached over TCP, without a wire."""
    async with database_on_server(tcp_server.tcp_dsn) as dsn:
        yield dsn


@pytest.fixture
async def wire(tcp_server_dsn: str) -> AsyncIterator[Wire]:
    async with wired(tcp_server_dsn) as made:
        yield made


@pytest.fixture
async def books(tcp_server_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(tcp_server_dsn)
    yield connection
    await connection.close()


class Paced:
    """A provider that says one word, and the rest when it may."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.begun = 0
        self.provider = FunctionProvider(self._act)

    async def _act(self, _: ModelRequest) -> AsyncIterator[Delta]:
        yield text_delta("Let me ")
        self.begun += 1
        await self.go.wait()
        yield text_delta("see.")
        yield finished()


async def moves(books: asyncpg.Connection) -> dict[str, int]:
    rows = await books.fetch(
        "SELECT transition, count(*) AS n FROM chat_events GROUP BY transition"
    )
    return {row["transition"]: row["n"] for row in rows}


async def pool_is_whole(database: Database, books: asyncpg.Connection, size: int) -> None:
    """See that as many statements as the pool has connections run at the same time."""
    await books.execute("SELECT pg_advisory_lock(1)")
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
                await eventually(lambda: equals(books.fetchval(waiting), size))
            finally:
                await books.execute("SELECT pg_advisory_unlock(1)")
    finally:
        await books.execute("SELECT pg_advisory_unlock_all()")


async def equals(answer: "asyncio.Future[int]", expected: int) -> bool:
    return await answer == expected


async def test_connection_cut_during_a_turn_loses_nothing(wire: Wire, books: asyncpg.Connection) -> None:
    """All connections break, three times over, while twenty turns run."""
    paced = Paced()
    async with running_daemon(wire.dsn, paced.provider) as chatd:
        ids = [(await chatd.api.create("hello"))["id"] for _ in range(20)]
        await eventually(lambda: paced.begun == 20)
        for _ in range(3):
            carried = wire.carried
            wire.cut()
            await eventually(lambda carried=carried: wire.carried >= carried + 2)  # they come back
        wire.cut()
        paced.go.set()  # all want to store at the moment of the cut
        for chat_id in ids:
            await chatd.api.wait_for_status(chat_id, "waiting")
            assert await chatd.api.texts(chat_id) == ["Let me see."]
        assert len(paced.provider.requests) == 20
        assert await moves(books) == dict.fromkeys(("create", "claim", "finish_turn"), 20)
        for event in ("supervisor.child_restarted", "chat.lost", "chat.reaped"):
            assert not chatd.logged(event)
        await eventually(
            lambda: (
                {line["child"] for line in chatd.logged("outage.ended")}
                >= {"listener", "heartbeat"}
            )
        )


async def test_refused_connections_are_waited_out(wire: Wire) -> None:
    async with running_daemon(wire.dsn, database=BRISK) as chatd:
        chat = await chatd.api.create()
        wire.refusing = True
        wire.cut()

        async def refused() -> bool:
            answer = await chatd.api.http.get(f"/api/v1/chats/{chat['id']}")
            return answer.status_code == 503 and answer.json()["code"] == "database_unavailable"

        await eventually(refused)
        assert (await chatd.api.http.get("/livez")).status_code == 200
        assert (await chatd.api.http.get("/readyz")).status_code == 503
        wire.refusing = False
        await eventually(lambda: sends(chatd, chat["id"]))
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert (await chatd.api.texts(chat["id"]))[-1] == "You said: again"


async def sends(chatd: InProcessDaemon, chat_id: str) -> bool:
    answer = await chatd.api.http.post(
        f"/api/v1/chats/{chat_id}/messages", json={"content": "again"}
    )
    assert answer.status_code in {202, 503}, answer.text
    return answer.status_code == 202


@pytest.mark.parametrize("forget", [False, True], ids=["late", "never"])
async def test_stalled_connection_is_answered_in_time(
    wire: Wire, books: asyncpg.Connection, forget: bool
) -> None:
    """Sixty requests meet a dead wire and a pool of two."""
    database = BRISK | {"pool_size": 2}
    async with running_daemon(wire.dsn, database=database) as chatd:
        chat = await chatd.api.create("hello")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        path = f"/api/v1/chats/{chat['id']}"

        async def asked(number: int) -> httpx2.Response:
            kinds = [
                ("GET", path),
                ("GET", f"{path}/stream"),
                ("GET", f"{path}/messages"),
                ("POST", f"{path}/messages"),
                ("POST", "/api/v1/chats"),
                ("GET", "/readyz"),
            ]
            method, where = kinds[number % len(kinds)]
            body = {"content": "lost"} if method == "POST" else None
            return await chatd.api.http.request(method, where, json=body)

        wire.stall()
        async with measure_scheduling_delay() as busy:
            began = anyio.current_time()
            answers = await asyncio.gather(*map(asked, range(60)))
            took = anyio.current_time() - began
        assert took < BOUNDED_SECONDS + busy.total
        assert {answer.status_code for answer in answers} == {503}
        assert {answer.json()["code"] for answer in answers if answer.url.path != "/readyz"} == {
            "database_unavailable"
        }
        assert (await chatd.api.http.get("/livez")).status_code == 200
        await eventually(lambda: children(chatd, "outage.began"))
        wire.flow(forget=forget)
        await eventually(lambda: sends(chatd, chat["id"]))
        await eventually(lambda: all_at_rest(books))
        await eventually(lambda: children(chatd, "outage.ended") == children(chatd, "outage.began"))
        await pool_is_whole(chatd.daemon.services.database, books, 2)
        assert not chatd.logged("supervisor.child_restarted")
        wire.cut()  # also what the path forgot


def children(chatd: InProcessDaemon, event: str) -> list[str]:
    """The actors of whom this was said."""
    return sorted(line["child"] for line in chatd.logged(event))


async def all_at_rest(books: asyncpg.Connection) -> bool:
    return not await books.fetchval("SELECT count(*) FROM chats WHERE status <> 'waiting'")


async def test_shutdown_does_not_wait_for_a_dead_connection(wire: Wire, books: asyncpg.Connection) -> None:
    """Nothing can be given back; the process ends all the same, in order."""
    paced = Paced()
    async with running_daemon(wire.dsn, paced.provider, database=BRISK) as chatd:
        await chatd.api.create("hello")
        await eventually(lambda: paced.begun)
        wire.stall()
        await chatd.stop()
        assert await books.fetchval("SELECT status FROM chats") == "running"  # for the reaper
        wire.cut()


async def test_slow_connection_is_not_unavailable(wire: Wire, books: asyncpg.Connection) -> None:
    async with running_daemon(wire.dsn) as chatd:
        wire.delay_seconds = 0.02
        chats = await asyncio.gather(*(chatd.api.create("hello") for _ in range(20)))
        for chat in chats:
            await chatd.api.wait_for_status(chat["id"], "waiting")
        assert await moves(books) == dict.fromkeys(("create", "claim", "finish_turn"), 20)
        assert not chatd.logged("outage.began")


def listening(wire: Wire) -> list[Line]:
    return [line for line in wire.lines if b"LISTEN" in line.sent]


@pytest.mark.parametrize("probes", [False, True], ids=["polled", "probed"])
async def test_deaf_listener_reconnects(
    tcp_server_dsn: str, wire: Wire, monkeypatch: pytest.MonkeyPatch, probes: bool
) -> None:
    """Its connection is dead and says nothing. Polling finds all; or it notices, and hears again."""
    probe_seconds = 0.2 if probes else 600.0
    monkeypatch.setattr(
        actors, "Listener", functools.partial(Listener, probe_seconds=probe_seconds)
    )
    worker = {"poll_seconds": 600.0 if probes else 0.2}
    async with (
        running_daemon(tcp_server_dsn, worker={"enabled": False}) as front,
        running_daemon(wire.dsn, worker=worker, database=BRISK) as back,
    ):
        [line] = await eventually(lambda: listening(wire))
        line.flows.clear()
        if probes:
            await back.wait_for_log("outage.began", child="listener")
            await back.wait_for_log("outage.ended", child="listener")
            assert len(listening(wire)) == 2
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
        line.cut()


@pytest.mark.parametrize("queued", [False, True], ids=["alone", "queued"])
async def test_lost_finish_response_is_not_repeated(
    wire: Wire, books: asyncpg.Connection, queued: bool
) -> None:
    """The server commits the last step; its answer never arrives, and the connection breaks."""
    secret = "a word that only the answer has"
    go = asyncio.Event()

    async def act(_: ModelRequest) -> AsyncIterator[Delta]:
        await go.wait()
        yield text_delta(secret)
        yield finished()

    provider = FunctionProvider(act)
    taken: list[Line] = []

    def lose(line: Line, data: bytes) -> None:
        if secret.encode() in data and not taken:
            taken.append(line)
            line.mute = True

    # Parts are not flushed: the answer passes the wire only when the turn is stored.
    stream = {"flush_interval_seconds": 600.0, "flush_bytes": 10**6}
    async with running_daemon(wire.dsn, provider, stream=stream) as chatd:
        chat_id = (await chatd.api.create("hello"))["id"]
        view = ChatView()
        turns = 2 if queued else 1
        following = asyncio.create_task(
            chatd.api.follow(
                chat_id, view, lambda view: len(view.messages) == 2 * turns and at_rest(view)
            )
        )
        await eventually(lambda: provider.requests and view.status)
        if queued:
            await chatd.api.send(chat_id, "and then")
        wire.on_sent = lose
        go.set()
        ended = "SELECT count(*) FROM chat_events WHERE transition = 'finish_turn' AND chat_id = $1"
        await eventually(lambda: equals(books.fetchval(ended, UUID(chat_id)), 1))
        assert len(provider.requests) == 1
        taken[0].cut()
        await chatd.api.wait_for_status(chat_id, "waiting")
        await following
        assert await chatd.api.texts(chat_id) == [secret] * turns
        assert list(view.messages.values())[1::2] == [secret] * turns
        assert len(provider.requests) == turns
        assert await moves(books) == {"create": 1, "claim": 1, "finish_turn": turns} | (
            {"send": 1} if queued else {}
        )
        assert not chatd.logged("chat.lost")


def at_rest(view: ChatView) -> bool:
    return view.status == "waiting"


async def test_lost_create_response_is_reported_as_unknown(
    wire: Wire, books: asyncpg.Connection
) -> None:
    """The caller hears 503, and what was stored is worked all the same."""
    taken: list[Line] = []

    def lose(line: Line, data: bytes) -> None:
        if b"marked" in data and not taken:
            taken.append(line)
            line.mute = True

    async with running_daemon(wire.dsn) as chatd:
        wire.on_sent = lose
        asking = asyncio.create_task(
            chatd.api.http.post("/api/v1/chats", json={"content": "marked"})
        )
        await eventually(lambda: equals(books.fetchval("SELECT count(*) FROM chats"), 1))
        await eventually(lambda: taken)
        taken[0].cut()
        answer = await asking
        assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
        await eventually(lambda: all_at_rest(books))
        assert await moves(books) == {"create": 1, "claim": 1, "finish_turn": 1}


class Crowd:
    """Somebody else, who takes all of max_connections."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._taken: list[asyncpg.Connection] = []

    async def fill(self) -> None:
        while True:
            try:
                self._taken.append(await asyncpg.connect(self._dsn))
            except asyncpg.TooManyConnectionsError:
                return

    async def oust(self) -> bool:
        """End the sessions of chatd and take their places; whether it has none left."""
        sessions = "FROM pg_stat_activity WHERE application_name = 'chatd'"
        await self._taken[0].execute(f"SELECT pg_terminate_backend(pid) {sessions}")
        await self.fill()
        return not await self._taken[0].fetchval(f"SELECT count(*) {sessions}")

    async def leave(self) -> None:
        for connection in self._taken:
            await connection.close()


async def test_server_without_free_connections_is_waited_out(tcp_server_dsn: str) -> None:
    """Everything is answered 503 while somebody else has all connections; then all is well again."""
    crowd = Crowd(tcp_server_dsn)
    async with running_daemons(tcp_server_dsn, [scripted()] * 2, database=BRISK) as both:
        chats = [await chatd.api.create("hello") for chatd in both]
        for chatd, chat in zip(both, chats, strict=True):
            await chatd.api.wait_for_status(chat["id"], "waiting")
        await crowd.fill()
        await eventually(crowd.oust)
        for chatd, chat in zip(both, chats, strict=True):
            await all_refused(chatd, chat["id"])
        await crowd.leave()
        for chatd, chat in zip(both, chats, strict=True):
            await eventually(lambda chatd=chatd, chat=chat: sends(chatd, chat["id"]))
            await chatd.api.wait_for_status(chat["id"], "waiting")
            assert await chatd.api.texts(chat["id"]) == ["You said: hello", "You said: again"]
            assert not chatd.logged("supervisor.child_restarted")
            await chatd.wait_for_log("outage.ended", child="heartbeat")


async def all_refused(chatd: InProcessDaemon, chat_id: str) -> None:
    for method, path in (
        ("GET", f"/api/v1/chats/{chat_id}"),
        ("POST", "/api/v1/chats"),
        ("GET", f"/api/v1/chats/{chat_id}/stream"),
    ):
        answer = await chatd.api.http.request(method, path, json={})
        assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
    assert (await chatd.api.http.get("/readyz")).status_code == 503
