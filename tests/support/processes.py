"""A real chatd: a subprocess with a configuration of its own, and a client that follows streams."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import anyio
import asyncpg
import httpx2

from chatd.store.database import Connection
from chatd.store.migrations import migrate
from support.log_event_coverage import record_event
from support.openapi_conformance import assert_documented, assert_event_documented

TIMEOUT_SECONDS = 30.0
"""How long a test waits for a fact before it says that it will not come."""

SCRIPTS = """
[providers.fake]
kind = "scripted"

[[providers.fake.script]]
text = "You said: {message}"
chunks = 4

[[providers.fake.scripts.slow]]
text = "One word after the other the answer comes, slowly, so that one can cut it. "
repeat = 3
chunks = 40
delay_seconds = 0.1

[[providers.fake.scripts.hang]]
text = "I begin and "
[[providers.fake.scripts.hang]]
hang = true

[[providers.fake.scripts.panic]]
text = "Something is "
[[providers.fake.scripts.panic]]
panic = "wires crossed"

[models.fake]
provider = "fake"
model = "fake-1"
"""
HANGING_SCRIPTS = SCRIPTS.replace(
    "repeat = 3\nchunks = 40\ndelay_seconds = 0.1\n",
    "chunks = 10\n[[providers.fake.scripts.slow]]\nhang = true\n",
)
"""Who has these comes no further than the middle of the slow answer: it is for others to finish."""


class ChatdProcess:
    """One process of ``chatd run``. Its log lines are read as they come."""

    def __init__(
        self,
        folder: Path,
        dsn: str,
        name: str,
        settings: str,
        scripts: str,
        port: int,
        environment: Mapping[str, str] = MappingProxyType({}),
        through: Sequence[str] = (),
        **how: Any,
    ) -> None:
        self.config = folder / f"{name}.toml"
        self.config.write_text(f"{settings}\n{scripts}")
        self.name = name
        self.lines: list[dict[str, Any]] = []
        self.raw_lines: list[str] = []
        self._lines_changed = threading.Condition()
        clean = {k: v for k, v in os.environ.items() if not k.startswith("CHATD_")}
        given = {
            "CHATD_DATABASE__URL": dsn,
            "CHATD_HTTP__PORT": str(port),
            "CHATD_LOG__FORMAT": "json",
        }
        self.process = subprocess.Popen(
            [*through, sys.executable, "-m", "chatd", "run", "--config", str(self.config)],
            env=clean | given | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **how,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._lines_changed:
                self.raw_lines.append(line)
                try:
                    self.lines.append(json.loads(line))
                    record_event(self.lines[-1].get("event"))
                except ValueError:
                    self.lines.append({"event": "?", "text": line})
                self._lines_changed.notify_all()

    def logged(self, event: str, **fields: Any) -> list[dict[str, Any]]:
        """The log lines of this event with these fields, so far."""
        return [
            line
            for line in list(self.lines)
            if line.get("event") == event and fields.items() <= line.items()
        ]

    async def wait_for_log(
        self, event: str, timeout_seconds: float = TIMEOUT_SECONDS, **fields: Any
    ) -> dict[str, Any]:
        """Wait for a log line."""

        def found() -> Any:
            lines = self.logged(event, **fields)
            if not lines and self.process.poll() is not None and not self._reader.is_alive():
                raise AssertionError(
                    f"{self.name} ended without {event}:\n{''.join(self.raw_lines)}"
                )
            return lines[0] if lines else None

        return await eventually(
            found, timeout_seconds, describe=lambda: f"{event} in:\n{''.join(self.raw_lines[-50:])}"
        )

    @property
    def worker_id(self) -> UUID:
        """What the database calls this process."""
        return UUID(self.logged("daemon.starting")[0]["worker_id"])

    async def wait_until_ready(self) -> None:
        listening = await self.wait_for_log("http.listening")
        self.port = int(listening["port"])
        self.url = f"http://{listening['host']}:{self.port}"
        async with httpx2.AsyncClient(base_url=self.url) as client:

            async def answers() -> bool:
                return (await client.get("/readyz")).status_code == 200

            await eventually(answers, interval_seconds=0.05)

    def send_signal(self, signal_number: signal.Signals) -> None:
        self.process.send_signal(signal_number)

    async def wait_for_exit(self, timeout_seconds: float = TIMEOUT_SECONDS) -> int:
        """Wait for the process to end; its exit code."""
        await eventually(lambda: self.process.poll() is not None, timeout_seconds)
        self._reader.join(5)
        return self.process.returncode

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()
        self._reader.join(5)
        if self.process.stdout is not None:
            self.process.stdout.close()


@contextmanager
def chatd_process(
    folder: Path,
    dsn: str,
    *,
    name: str = "a",
    settings: str = "",
    scripts: str = SCRIPTS,
    port: int = 0,
    **how: Any,
) -> Iterator[ChatdProcess]:
    """A process that is killed at the end, if it still runs; await ``wait_until_ready()`` first.

    ``how`` may give an ``environment``, a command to start it ``through``, and what Popen takes.
    """
    chatd = ChatdProcess(folder, dsn, name, settings, scripts, port, **how)
    try:
        yield chatd
    finally:
        chatd.kill()


async def eventually(
    probe: Callable[[], Any],
    timeout_seconds: float = TIMEOUT_SECONDS,
    *,
    describe: Callable[[], str] | None = None,
    interval_seconds: float = 0.01,
) -> Any:
    """Look until there is something true to see, and return it."""
    try:
        with anyio.fail_after(timeout_seconds):
            while True:
                seen = probe()
                if hasattr(seen, "__await__"):
                    seen = await seen
                if seen:
                    return seen
                await anyio.sleep(interval_seconds)
    except TimeoutError:
        raise AssertionError(
            f"not so within {timeout_seconds} s: {describe() if describe else probe}"
        ) from None


_SAMPLE_INTERVAL_SECONDS = 0.05


@dataclass
class SchedulingDelay:
    """By how much the machine was behind, so far: its being busy is not the product's being slow.

    Who waits for a timer, a lock or a lease does not make it late.
    """

    timer_seconds: float = 0.0
    """Seconds by which somebody who only slept was woken too late, all times together."""
    run_queue_seconds: float = 0.0
    """Seconds for which the loops of the processes that are watched had work, and no processor."""

    @property
    def total(self) -> float:
        """What a bound of seconds may grow by."""
        return self.timer_seconds + self.run_queue_seconds


@asynccontextmanager
async def measure_scheduling_delay(*processes: ChatdProcess) -> AsyncIterator[SchedulingDelay]:
    """Meanwhile, measure how late the machine is, and how long it has these processes wait for it."""
    measured = SchedulingDelay()
    before = [thread_run_queue_seconds(one.process.pid) for one in processes]

    async def measure() -> None:
        while True:
            due = anyio.current_time() + _SAMPLE_INTERVAL_SECONDS
            await anyio.sleep(_SAMPLE_INTERVAL_SECONDS)
            measured.timer_seconds += anyio.current_time() - due
            now = sum(
                thread_run_queue_seconds(one.process.pid) for one in processes
            )  # less, once one has ended
            measured.run_queue_seconds = max(measured.run_queue_seconds, now - sum(before))

    task = asyncio.create_task(measure())
    try:
        yield measured
    finally:
        task.cancel()
        await asyncio.wait([task])


def thread_run_queue_seconds(thread_id: int) -> float:
    """For how long a thread (a process's event loop has its id) was ready to run and did not.

    As far as Linux tells.
    """
    try:
        _, nanoseconds, _ = Path(f"/proc/{thread_id}/schedstat").read_text().split()
    except (OSError, ValueError):  # it ended meanwhile, or this kernel does not count
        return 0.0
    return int(nanoseconds) / 1e9


@dataclass
class SseEvent:
    """A server-sent event."""

    event: str
    data: Any
    id: str | None


@dataclass
class ChatView:
    """What a person would see of a chat who follows its stream with the simplest of clients."""

    events: list[SseEvent] = field(default_factory=list)
    status: str | None = None
    cursor: str | None = None
    preview: str = ""
    messages: dict[int, str] = field(default_factory=dict)

    def apply(self, event: SseEvent) -> None:
        self.events.append(event)
        self.cursor = event.id or self.cursor
        match event.event:
            case "snapshot":
                self.status = event.data["chat"]["status"]
                self.messages = {m["id"]: text_of(m["content"]) for m in event.data["messages"]}
                self.preview = text_of(event.data["parts"])
            case "status":
                self.status = event.data["status"]
            case "message_part":
                self.preview += text_of([event.data])
            case "preview_reset":
                self.preview = ""
            case "history_reset":
                first = event.data["from_message_id"]
                self.messages = {n: text for n, text in self.messages.items() if n < first}
                self.preview = ""
            case "message":
                text = text_of(event.data["content"])
                if event.data["role"] == "assistant":
                    assert text.startswith(self.preview), (self.preview, text)
                    self.preview = ""
                assert event.data["id"] not in self.messages, "the same message twice"
                self.messages[event.data["id"]] = text


def text_of(parts: list[dict[str, Any]]) -> str:
    return "".join(part.get("text", "") for part in parts if part["type"] == "text")


class ApiClient:
    """The API, as a caller uses it."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self.http = http

    async def create(self, content: str | None = None, **more: Any) -> dict[str, Any]:
        body = ({"content": content} if content is not None else {}) | more
        answer = await self.http.post("/api/v1/chats", json=body)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    async def send(self, chat_id: str, content: str, **more: Any) -> dict[str, Any]:
        answer = await self.http.post(
            f"/api/v1/chats/{chat_id}/messages", json={"content": content} | more
        )
        assert answer.status_code == 202, answer.text
        return dict(answer.json())

    async def submit_tool_results(self, chat_id: str, results: dict[str, Any]) -> dict[str, Any]:
        """Hand in what tools returned, by the ids of their calls."""
        answer = await self.http.post(
            f"/api/v1/chats/{chat_id}/tool-results",
            json={"results": [{"tool_call_id": k, "result": v} for k, v in results.items()]},
        )
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def edit(self, chat_id: str, message_id: int, content: str) -> dict[str, Any]:
        answer = await self.http.patch(
            f"/api/v1/chats/{chat_id}/messages/{message_id}", json={"content": content}
        )
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def interrupt(self, chat_id: str) -> dict[str, Any]:
        answer = await self.http.post(f"/api/v1/chats/{chat_id}/interrupt")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def chat(self, chat_id: str) -> dict[str, Any]:
        answer = await self.http.get(f"/api/v1/chats/{chat_id}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def messages(self, chat_id: str) -> list[dict[str, Any]]:
        answer = await self.http.get(f"/api/v1/chats/{chat_id}/messages", params={"limit": 200})
        assert answer.status_code == 200, answer.text
        return list(answer.json()["items"])

    async def texts(self, chat_id: str, role: str = "assistant") -> list[str]:
        return [text_of(m["content"]) for m in await self.messages(chat_id) if m["role"] == role]

    async def wait_for_status(
        self, chat_id: str, status: str, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> dict[str, Any]:
        """Wait for a status; the chat then."""

        async def reached() -> dict[str, Any] | None:
            chat = await self.chat(chat_id)
            return chat if chat["status"] == status else None

        return dict(await eventually(reached, timeout_seconds, interval_seconds=0.05))

    async def stream(self, chat_id: str, after: str | None = None) -> AsyncIterator[SseEvent]:
        """Events of one connection, until it ends."""
        headers = {"last-event-id": after} if after else {}
        path = f"/api/v1/chats/{chat_id}/stream"
        async with self.http.stream("GET", path, headers=headers) as answer:
            assert answer.status_code == 200, await answer.aread()
            event: dict[str, str] = {}
            async for line in answer.aiter_lines():
                name, _, value = line.partition(": ")
                if name:
                    event[name] = value
                elif "event" in event:
                    heard = SseEvent(event["event"], json.loads(event["data"]), event.get("id"))
                    assert_event_documented(answer.request, heard.event, heard.data, heard.id)
                    yield heard
                    event = {}
                else:
                    event = {}

    async def follow(
        self,
        chat_id: str,
        view: ChatView,
        until: Callable[[ChatView], bool],
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> ChatView:
        """Apply events to ``view``, from its cursor on, until it looks right or the stream ends."""
        events = self.stream(chat_id, view.cursor)
        try:
            with anyio.fail_after(timeout_seconds):
                async for event in events:
                    view.apply(event)
                    if until(view):
                        break
        finally:
            await events.aclose()  # type: ignore[attr-defined]
        return view


@asynccontextmanager
async def client(chatd: ChatdProcess) -> AsyncIterator[ApiClient]:
    """A client of one process."""
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=100)
    async with httpx2.AsyncClient(
        base_url=chatd.url,
        timeout=TIMEOUT_SECONDS,
        limits=limits,
        event_hooks={"response": [assert_documented]},
    ) as http:
        yield ApiClient(http)


class DatabaseInspector:
    """What is stored, read past the API: the journal, and whose a chat is."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def fetch_all(self, query: str, *args: Any) -> list[asyncpg.Record]:
        return list(await self._connection.fetch(query, *args))

    async def fetch_value(self, query: str, *args: Any) -> Any:
        return await self._connection.fetchval(query, *args)

    async def now(self) -> datetime:
        moment: datetime = await self.fetch_value("SELECT clock_timestamp()")
        return moment

    async def journal(self, chat_id: str) -> list[asyncpg.Record]:
        """All moves of a chat, in order."""
        return await self.fetch_all(
            "SELECT version, at, move, status, epoch, worker_id, data::jsonb->>'reason' AS reason,"
            " data FROM chat_events WHERE chat_id = $1 ORDER BY version",
            UUID(chat_id),
        )

    async def transitions(self, chat_id: str) -> list[str]:
        return [row["move"] for row in await self.journal(chat_id)]

    async def wait_for_transition(
        self, chat_id: str, transition: str, *, times: int = 1
    ) -> asyncpg.Record:
        """Wait for a move to have been made so often; its journal row."""

        async def made() -> asyncpg.Record | None:
            rows = [row for row in await self.journal(chat_id) if row["move"] == transition]
            return rows[times - 1] if len(rows) >= times else None

        row: asyncpg.Record = await eventually(
            made, describe=lambda: f"{transition} of {chat_id}", interval_seconds=0.03
        )
        return row

    async def wait_for_worker(
        self, chat_id: str, *processes: ChatdProcess
    ) -> tuple[ChatdProcess, list[ChatdProcess]]:
        """Wait for somebody to have claimed the chat: the last who did, and the others."""

        async def claims() -> list[UUID]:
            rows = await self.journal(chat_id)
            return [row["worker_id"] for row in rows if row["move"] == "acquire"]

        *_, worker_id = await eventually(claims, describe=lambda: f"an owner of {chat_id}")
        (owner,) = (one for one in processes if one.worker_id == worker_id)
        return owner, [one for one in processes if one is not owner]


@asynccontextmanager
async def inspect_database(dsn: str) -> AsyncIterator[DatabaseInspector]:
    connection = await asyncpg.connect(dsn)
    try:
        yield DatabaseInspector(connection)
    finally:
        await connection.close()


@asynccontextmanager
async def replicas(
    folder: Path,
    dsn: str | dict[str, str],
    *names: str,
    settings: str = "",
    scripts: str = SCRIPTS,
    **how: Any,
) -> AsyncIterator[list[ChatdProcess]]:
    """Several processes, all ready. ``dsn`` may say how each comes to the database."""
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                chatd_process(
                    folder,
                    dsn if isinstance(dsn, str) else dsn[name],
                    name=name,
                    settings=settings,
                    scripts=scripts,
                    **how,
                )
            )
            for name in names
        ]
        for process in processes:
            await process.wait_until_ready()
        yield processes


@asynccontextmanager
async def clients(processes: Sequence[ChatdProcess]) -> AsyncIterator[dict[str, ApiClient]]:
    """A client of each process, by the name of the process."""
    async with AsyncExitStack() as stack:
        yield {
            process.name: await stack.enter_async_context(client(process)) for process in processes
        }


@asynccontextmanager
async def database_on_server(server: str, *, schema: bool = True) -> AsyncIterator[str]:
    """A database with the schema, or with nothing in it, on a server that is a test's own."""
    name = f"chatd_test_{uuid4().hex[:12]}"
    admin = await asyncpg.connect(server)
    await admin.execute(f"CREATE DATABASE {name}")
    await admin.close()
    dsn = urlsplit(server)._replace(path=f"/{name}").geturl()
    if schema:
        await migrate.up(dsn)
    yield dsn
