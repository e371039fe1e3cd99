"""A fake provider on loopback: a real HTTP server that can be cut, reset or left hanging at any byte."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any


class BodyEnd(Enum):
    """End of the connection after the body was written."""

    CHUNKED = auto()
    """Ended as HTTP requires."""
    CLOSE = auto()
    """Closed cleanly after a body without a length, so that the client cannot tell a missing end."""
    TRUNCATED = auto()
    """Closed cleanly in the middle of a chunked body."""
    RESET = auto()
    HANG = auto()
    """Left open without bytes, until the client disconnects."""


@dataclass
class CannedResponse:
    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body_end: BodyEnd = BodyEnd.CHUNKED
    write_count: int = 1
    """Number of writes in which the body is sent."""


class FakeProviderServer:
    """Server that gives each request the same ``response``, and records requests and disconnects."""

    def __init__(self, response: CannedResponse) -> None:
        self.response = response
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.connection_count = 0
        self.open_connections: dict[asyncio.StreamWriter, asyncio.Task[Any] | None] = {}
        self.hanging = asyncio.Event()
        self.client_disconnected = asyncio.Event()
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connection_count += 1
        self.open_connections[writer] = asyncio.current_task()
        try:
            while await self._serve_request(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            self.client_disconnected.set()
        finally:
            del self.open_connections[writer]
            writer.close()

    async def stop(self) -> None:
        """Drop every connection, and wait until none is served any more."""
        serving = [task for task in self.open_connections.values() if task is not None]
        for writer in self.open_connections:
            writer.transport.abort()
        if serving:
            await asyncio.wait(serving)

    async def _serve_request(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode().split("\r\n")[1:]
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines) if k}
        self.headers.append(headers)
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        self.requests.append(json.loads(body))
        ending = self.response.body_end
        chunked = ending is not BodyEnd.CLOSE
        self._write_head(writer, chunked=chunked)
        await self._write_body(writer, chunked=chunked)
        match ending:
            case BodyEnd.CHUNKED:
                writer.write(b"0\r\n\r\n")
                await writer.drain()
                return True
            case BodyEnd.HANG:
                self.hanging.set()
                await reader.read()
                self.client_disconnected.set()
            case BodyEnd.RESET:
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, linger
                )
                writer.transport.abort()
        return False

    def _write_head(self, writer: asyncio.StreamWriter, *, chunked: bool) -> None:
        stream = self.response.status == 200
        headers = {
            "content-type": "text/event-stream" if stream else "application/json",
            **({"transfer-encoding": "chunked"} if chunked else {"connection": "close"}),
            **self.response.headers,
        }
        writer.write(f"HTTP/1.1 {self.response.status} Whatever\r\n".encode())
        writer.write("".join(f"{k}: {v}\r\n" for k, v in headers.items()).encode() + b"\r\n")

    async def _write_body(self, writer: asyncio.StreamWriter, *, chunked: bool) -> None:
        body = self.response.body
        size = max(1, -(-len(body) // self.response.write_count))
        for at in range(0, len(body), size):
            piece = body[at : at + size]
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
            await writer.drain()
            await asyncio.sleep(0)


@asynccontextmanager
async def fake_provider_server(response: CannedResponse) -> AsyncIterator[FakeProviderServer]:
    provider = FakeProviderServer(response)
    server = await asyncio.start_server(provider.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    provider.url = f"http://{host}:{port}"
    async with server:
        try:
            yield provider
        finally:
            await provider.stop()
