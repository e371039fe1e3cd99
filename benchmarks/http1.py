"""Minimal client for HTTP/1.1 and server-sent events, so that the load generator costs little."""

import asyncio
import re
from dataclasses import dataclass
from functools import partial
from typing import cast
from urllib.parse import urlsplit

_CONTENT_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    body: bytes


class HttpConnection(asyncio.Protocol):
    """One connection: requests, one after another, or one stream."""

    def __init__(self, host: str, token: str | None = None) -> None:
        self._headers = f"host: {host}\r\n"
        if token is not None:
            self._headers += f"authorization: Bearer {token}\r\n"
        self.buffer = bytearray()
        """Bytes received and not consumed; of a stream, all bytes received."""
        self.closed = False
        self._waiter: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own do not inherit

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        self._wake()

    def connection_lost(self, _error: Exception | None) -> None:
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait_for_data(self) -> None:
        """Wait for more bytes. Raises ``ConnectionResetError`` when the connection is closed."""
        if self.closed:
            raise ConnectionResetError(
                f"the connection was closed after {bytes(self.buffer[-300:])!r}"
            )
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    async def wait_for(self, pattern: re.Pattern[bytes], start: int = 0) -> re.Match[bytes]:
        """Wait until ``pattern`` is found after ``start``."""
        while (match := pattern.search(self.buffer, start)) is None:
            await self.wait_for_data()
        return match

    async def post(self, path: str, body: bytes) -> Response:
        """Post JSON, and return the complete response."""
        self.request_post(path, body)
        return await self._read_response()

    def request_post(self, path: str, body: bytes) -> None:
        """Post JSON, and leave the response to the caller."""
        head = f"POST {path} HTTP/1.1\r\n{self._headers}content-type: application/json\r\n"
        self._transport.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)

    async def get(self, path: str) -> Response:
        self._transport.write(f"GET {path} HTTP/1.1\r\n{self._headers}\r\n".encode())
        return await self._read_response()

    async def _read_response(self) -> Response:
        end = (await self.wait_for(re.compile(rb"\r\n\r\n"))).end()
        head = bytes(self.buffer[:end])
        length = _CONTENT_LENGTH.search(head)
        whole = end + (int(length[1]) if length else 0)
        while len(self.buffer) < whole:
            await self.wait_for_data()
        body = bytes(self.buffer[end:whole])
        del self.buffer[:whole]
        return Response(int(head[9:12]), body)

    def request_stream(self, path: str) -> None:
        self._transport.write(f"GET {path} HTTP/1.1\r\n{self._headers}\r\n".encode())

    def close(self) -> None:
        self._transport.close()


async def connect(url: str, *, token: str | None = None) -> HttpConnection:
    """Connect to ``http://host:port``, with a ``token`` in each request."""
    parts = urlsplit(url)
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(
        partial(HttpConnection, parts.netloc, token),
        parts.hostname or "localhost",
        parts.port or 80,
    )
    return connection
