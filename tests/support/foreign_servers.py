"""Model servers that nobody here wrote, each with faults switched on.

Two of them inject faults themselves. In front of llama.cpp stands ``FaultyRelay``, which also records the
answers that passed whole.
"""

import asyncio
import json
import random
import shutil
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from socket import create_connection, socket
from typing import Any
from urllib.parse import urlsplit

from chatd.embedded import local_model
from support.child_process import child_process
from support.eventually import TIMEOUT_SECONDS, eventually

FOREIGN_DIR = Path(__file__).parents[1] / "field" / "foreign"
"""Folder with the package of aimock and its fixtures."""
AIMOCK = FOREIGN_DIR / "node_modules" / "@copilotkit" / "aimock" / "dist" / "cli.js"

PARALLEL_REQUESTS = 4
"""Requests that llama.cpp answers at once. More would wait, and silence is a fault."""

LLMOCK_ANSWER = "Mock response from some-model."
"""The answer of llmock in its static style to a request for ``some-model``."""


@dataclass
class ForeignServer:
    """A running server: the base URL for each provider kind, and the complete answers it may give."""

    base_urls: dict[str, str]
    answers: dict[str, set[str]] = field(default_factory=dict)
    """Complete answers by question. The key "" stands for every question."""

    def complete_answers(self, question: str) -> set[str]:
        """Return the complete answers that the server gave to a question, or gives to all."""
        return self.answers.get(question, set()) | self.answers.get("", set())


def llmock_available() -> bool:
    """Return whether llmock is installed beside this interpreter."""
    return Path(sys.executable).with_name("llmock").exists()


def aimock_available() -> bool:
    """Return whether Node and aimock are installed."""
    return shutil.which("node") is not None and AIMOCK.exists()


@asynccontextmanager
async def llmock() -> AsyncIterator[ForeignServer]:
    """Run llmock with statuses of failure, and streams that it cuts, stalls and garbles."""
    faults = [f"--error-rate={status}=0.06" for status in (429, 500, 503, 529)]
    faults += [f"--stream-fault={kind}=0.1" for kind in ("disconnect", "truncate", "malformed")]
    faults += ["--stream-fault=stall=0.05", "--stream-stall-seconds=3"]
    port = _free_port()
    command = [Path(sys.executable).with_name("llmock"), "serve", f"--port={port}"]
    options = [
        "--host=127.0.0.1",
        "--tool-mode=off",
        "--response-style=static",
        "--log-level=error",
    ]
    async with _listening([*command, *options, *faults], port):
        url = f"http://127.0.0.1:{port}"
        yield ForeignServer(
            {
                "openai": f"{url}/v1",
                "openai-compatible": f"{url}/v1",
                "anthropic": f"{url}/anthropic",
                "mistral": f"{url}/mistral/v1",
                "groq": f"{url}/groq/openai/v1",
            },
            {"": {LLMOCK_ANSWER}},
        )


@asynccontextmanager
async def aimock() -> AsyncIterator[ForeignServer]:
    """Run aimock with statuses of failure, JSON that is none, and connections that it destroys."""
    fixtures = FOREIGN_DIR / "fixtures.json"
    answer = json.loads(fixtures.read_text())["fixtures"][0]["response"]["content"]
    port = _free_port()
    command = ["node", AIMOCK, f"--port={port}", f"--fixtures={fixtures}", "--log-level=warn"]
    faults = ["drop", "malformed", "disconnect", "ratelimit"]
    chaos = [f"--chaos-{fault}=0.12" for fault in faults]
    async with _listening([*command, "--chunk-size=5", *chaos], port):
        url = f"http://127.0.0.1:{port}"
        yield ForeignServer(
            {
                "openai": f"{url}/v1",
                "openai-compatible": f"{url}/v1",
                "anthropic": url,
                "azure": f"{url}/openai/v1",
                "openrouter": f"{url}/api/v1",
            },
            {"": {answer}},
        )


@asynccontextmanager
async def llama_cpp() -> AsyncIterator[ForeignServer]:
    """Run the embedded llama.cpp server behind a relay that cuts, resets, stalls and refuses."""
    async with local_model(max_parallel_requests=PARALLEL_REQUESTS) as model:
        upstream = urlsplit(model.base_url)
        assert upstream.hostname is not None
        assert upstream.port is not None
        server = ForeignServer({})
        relay = FaultyRelay(upstream.hostname, upstream.port, server.answers)
        listener = await asyncio.start_server(relay.serve, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        server.base_urls["openai-compatible"] = f"http://127.0.0.1:{port}/v1"
        try:
            yield server
        finally:
            listener.close()
            await relay.stop()


class FaultyRelay:
    """Relay in front of a server of the OpenAI dialect, with a fault in two of five responses.

    It serves one request on each connection. ``answers`` gets the text of each response that passed whole,
    by the last user message of its request.
    """

    def __init__(self, host: str, port: int, answers: dict[str, set[str]]) -> None:
        self._host, self._port = host, port
        self._answers = answers
        self._random = random.Random(7)
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._relay(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def stop(self) -> None:
        """Drop all connections."""
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks))

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        body = await reader.readexactly(_content_length(head))
        fault = self._random.choice(
            ["none"] * 9 + ["cut", "cut", "reset", "stall", "refuse", "text"]
        )
        if fault == "refuse":
            writer.write(b"HTTP/1.1 503 Busy\r\nretry-after: 0\r\ncontent-length: 0\r\n\r\n")
            return await _close(writer)
        if fault == "text":
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n\r\n<html>Please log in</html>"
            )
            return await _close(writer)
        allowed = self._random.randint(1, 2500) if fault != "none" else sys.maxsize
        passed = b""
        far_reader, far_writer = await asyncio.open_connection(self._host, self._port)
        try:
            far_writer.write(head + body)
            while not passed.endswith(b"\r\n0\r\n\r\n") and (data := await far_reader.read(65536)):
                piece = data[: allowed - len(passed)]
                passed += piece
                writer.write(piece)
                await writer.drain()
                if len(passed) >= allowed:
                    return await self._break(fault, reader, writer)
        finally:
            far_writer.transport.abort()
            self._record(body, passed)
        return await _close(writer)

    def _record(self, request: bytes, response: bytes) -> None:
        if (text := _complete_text(response)) is not None:
            self._answers.setdefault(_last_user_text(json.loads(request)), set()).add(text)

    async def _break(
        self, fault: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if fault == "reset":
            writer.transport.abort()
        elif fault == "stall":
            await reader.read()  # until the client disconnects
        else:
            await _close(writer)


async def _close(writer: asyncio.StreamWriter) -> None:
    await writer.drain()
    writer.close()
    await writer.wait_closed()


def _content_length(head: bytes) -> int:
    for line in head.decode().lower().splitlines():
        if line.startswith("content-length:"):
            return int(line.partition(":")[2])
    return 0


def _last_user_text(body: dict[str, Any]) -> str:
    content = next(m["content"] for m in reversed(body["messages"]) if m["role"] == "user")
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content)


def _complete_text(response: bytes) -> str | None:
    """Return the text of a streamed response. None: what passed of it does not reach its end.

    The end is the finish reason. A cut behind it takes nothing from the answer.
    """
    chunked, body = response.partition(b"\r\n\r\n")[2], b""
    while chunked:
        size, _, chunked = chunked.partition(b"\r\n")
        body, chunked = body + chunked[: int(size, 16)], chunked[int(size, 16) + 2 :]
    lines = body.split(b"\n")[:-1]
    chunks = [json.loads(line[6:]) for line in lines if line.startswith(b"data: {")]
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    if not any(choice["finish_reason"] for choice in choices):
        return None
    return "".join(choice["delta"].get("content") or "" for choice in choices)


def _free_port() -> int:
    with socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@asynccontextmanager
async def _listening(command: Sequence[str | Path], port: int) -> AsyncIterator[None]:
    """Run a server while the block lasts. Begin once it accepts connections."""

    def accepts() -> bool:
        assert process.poll() is None, f"{command[0]} ended with {process.returncode}"
        with suppress(OSError), create_connection(("127.0.0.1", port), timeout=1):
            return True
        return False

    with child_process(command) as process:
        await eventually(accepts, 2 * TIMEOUT_SECONDS, interval_seconds=0.05)
        yield
