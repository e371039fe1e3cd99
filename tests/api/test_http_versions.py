"""Responses to clients that know no HTTP/1.1: bodies without chunks, which end with the connection."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from support.eventually import TIMEOUT_SECONDS
from support.in_process import InProcessDaemon


class RawResponse:
    """Response whose body is read as bytes from the connection."""

    def __init__(self, reader: asyncio.StreamReader, head: bytes) -> None:
        status_line, *lines = head.strip().split(b"\r\n")
        self.status = int(status_line.split(b" ")[1])
        self.headers = dict(line.lower().split(b": ", 1) for line in lines)
        self._reader = reader

    async def read_until(self, separator: bytes) -> bytes:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return await self._reader.readuntil(separator)

    async def read_to_end(self) -> bytes:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return await self._reader.read()


@asynccontextmanager
async def raw_response(
    chatd: InProcessDaemon, request_line: str, body: bytes = b""
) -> AsyncIterator[RawResponse]:
    """Send a request as bytes, and yield its response."""
    reader, writer = await asyncio.open_connection("127.0.0.1", chatd.daemon.port)
    headers = ["host: a", f"authorization: {chatd.api.http.headers['authorization']}"]
    if body:
        headers += ["content-type: application/json", f"content-length: {len(body)}"]
    try:
        writer.write("\r\n".join([request_line, *headers, "", ""]).encode() + body)
        async with asyncio.timeout(TIMEOUT_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
        yield RawResponse(reader, head)
    finally:
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(
    ("request_line", "body", "status"),
    [
        ("GET /livez HTTP/1.0", b"", 200),
        ("GET /openapi.json HTTP/1.0", b"", 200),
        ("GET /docs/assets/swagger-ui.css HTTP/1.0", b"", 200),
        ("GET /metrics HTTP/1.0", b"", 403),
        ("POST /api/v1/chats HTTP/1.0", b'{"title": "a"}', 201),
        ("GET /nope HTTP/1.0", b"", 404),
    ],
)
async def test_response_of_known_length_ends_with_the_connection(
    chatd: InProcessDaemon, request_line: str, body: bytes, status: int
) -> None:
    async with raw_response(chatd, request_line, body) as response:
        assert response.status == status
        assert b"transfer-encoding" not in response.headers
        assert response.headers[b"connection"] == b"close"
        assert len(await response.read_to_end()) == int(response.headers[b"content-length"])


async def test_stream_has_no_chunks_for_an_old_client(chatd: InProcessDaemon) -> None:
    chat_id = (await chatd.api.create("hello"))["id"]
    await chatd.api.wait_for_status(chat_id, "waiting")
    async with raw_response(chatd, f"GET /api/v1/chats/{chat_id}/stream HTTP/1.0") as response:
        assert response.status == 200
        assert b"transfer-encoding" not in response.headers
        assert response.headers[b"connection"] == b"close"
        stream = await response.read_until(b"\n\n")
        assert (await chatd.api.http.delete(f"/api/v1/chats/{chat_id}")).status_code == 204
        stream += await response.read_to_end()
    events = [event.split(b"\n") for event in stream.strip().split(b"\n\n")]
    assert [lines[0] for lines in events] == [b"event: snapshot", b"event: deleted"]
    assert json.loads(events[1][1].removeprefix(b"data: ")) == {"id": chat_id}


async def test_stream_has_chunks_for_a_current_client(chatd: InProcessDaemon) -> None:
    async with raw_response(chatd, "GET /api/v1/chats/stream HTTP/1.1") as response:
        assert (response.status, response.headers[b"transfer-encoding"]) == (200, b"chunked")
        assert (await response.read_until(b"event: snapshot\n")).endswith(b"\r\nevent: snapshot\n")
