"""A byte-exact model server: it answers each request with exactly the given bytes, pauses and cuts."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any


@dataclass(frozen=True)
class Pause:
    """Time without bytes, in seconds."""

    seconds: float


class End(Enum):
    """End of a response after its last piece."""

    WHOLE = auto()
    """The body ends as HTTP requires."""
    CLOSE = auto()
    """The body has no length, and the server closes the connection."""
    CUT = auto()
    """The server closes the connection in the middle of a chunked body."""
    RESET = auto()
    HANG = auto()
    """The server leaves the connection open without bytes, until the client disconnects."""


@dataclass(frozen=True, kw_only=True)
class ModelResponse:
    """One response. ``pieces`` are written one by one, each as one chunk of the body."""

    pieces: Sequence[bytes | Pause]
    status: int = 200
    content_type: str | None = "text/event-stream"
    headers: dict[str, str] = field(default_factory=dict)
    end: End = End.WHOLE


@dataclass(frozen=True, kw_only=True)
class RecordedRequest:
    """One request as it arrived."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class ModelServer:
    """Server that gives its responses in turn, the last one for ever, and records the requests.

    A request that holds a key of ``named`` gets the responses of that name in turn instead.
    """

    def __init__(self, responses: Sequence[ModelResponse]) -> None:
        self.responses = list(responses)
        self.named: dict[str, list[ModelResponse]] = {}
        self.requests: list[RecordedRequest] = []
        self.connection_count = 0
        self.hanging = asyncio.Event()
        self.client_disconnected = asyncio.Event()
        self.url = ""
        self._connections: dict[asyncio.Task[Any], asyncio.StreamWriter] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.connection_count += 1
        self._connections[task] = writer
        try:
            with suppress(asyncio.CancelledError):  # only `stop` cancels
                while await self._answer(reader, writer):
                    pass
        except (ConnectionError, asyncio.IncompleteReadError):
            self.client_disconnected.set()
        finally:
            del self._connections[task]
            writer.close()

    async def stop(self) -> None:
        """Drop every connection, and wait until none is served any more."""
        for task, writer in list(self._connections.items()):
            writer.transport.abort()
            task.cancel()
        if self._connections:
            await asyncio.wait(list(self._connections))

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        fields = (line.partition(":") for line in head[1:] if line)
        headers = {name.lower(): value.strip() for name, _, value in fields}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        path = head[0].split(" ")[1]
        self.requests.append(
            RecordedRequest(path=path, headers=headers, body=json.loads(body or b"{}"))
        )
        return await self._write(self._next_response(body.decode()), reader, writer)

    def _next_response(self, text: str) -> ModelResponse:
        for name, responses in self.named.items():
            if name in text:
                return responses.pop(0) if len(responses) > 1 else responses[0]
        return self.responses[min(len(self.requests), len(self.responses)) - 1]

    async def _write(
        self, response: ModelResponse, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Write one response. Return True if the connection stays open for another request."""
        chunked = response.end is not End.CLOSE
        headers = {"transfer-encoding": "chunked"} if chunked else {"connection": "close"}
        if response.content_type is not None:
            headers["content-type"] = response.content_type
        lines = [f"{name}: {value}\r\n" for name, value in (headers | response.headers).items()]
        writer.write(f"HTTP/1.1 {response.status} Whatever\r\n{''.join(lines)}\r\n".encode())
        for piece in response.pieces:
            if isinstance(piece, Pause):
                await asyncio.sleep(piece.seconds)
            elif piece:
                writer.write(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
                await writer.drain()
                await asyncio.sleep(0)
        match response.end:
            case End.WHOLE:
                writer.write(b"0\r\n\r\n")
                await writer.drain()
                return True
            case End.HANG:
                self.hanging.set()
                await reader.read()
                self.client_disconnected.set()
            case End.RESET:
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, linger
                )
                writer.transport.abort()
            case _:
                pass
        return False


@asynccontextmanager
async def model_server(*responses: ModelResponse) -> AsyncIterator[ModelServer]:
    """Run a server with these responses."""
    model = ModelServer(responses)
    server = await asyncio.start_server(model.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    model.url = f"http://{host}:{port}"
    async with server:
        try:
            yield model
        finally:
            await model.stop()
