"""Connections before anybody is asked who they are: heads, deadlines, and the number of them."""

import asyncio
import gc
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from support.eventually import TIMEOUT_SECONDS, eventually
from support.in_process import InProcessDaemon, running_daemon
from support.requests import open_stream

from chatd.api.http_protocol import HttpProtocol

SHORT = {"head_timeout_seconds": 0.5, "body_timeout_seconds": 0.5, "max_head_bytes": 16384}
HEAD = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /api/v1/chats HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@asynccontextmanager
async def connection(
    chatd: InProcessDaemon,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", chatd.daemon.server.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def read_to_end(reader: asyncio.StreamReader) -> bytes:
    """Return what the server sends before it closes the connection."""
    received = b""
    async with asyncio.timeout(TIMEOUT_SECONDS):
        with suppress(ConnectionError):
            while chunk := await reader.read(65536):
                received += chunk
    return received


async def test_head_of_a_request_is_bounded(dsn: str) -> None:
    async with running_daemon(dsn, http={"max_head_bytes": 16384}) as chatd:
        for endless in (b"X-A: " + b"a" * 1000 + b"\r\n", b"a" * 1000):
            async with connection(chatd) as (reader, writer):
                writer.write(HEAD + b"X-A: ")
                sent = 0

                async def send(writer: asyncio.StreamWriter, endless: bytes) -> None:
                    nonlocal sent
                    with suppress(OSError):
                        while sent < 200_000_000:
                            writer.write(endless * 64)
                            await writer.drain()
                            sent += 64 * len(endless)

                sending = asyncio.create_task(send(writer, endless))
                assert (await read_to_end(reader)).startswith(b"HTTP/1.1 431 ")
                sending.cancel()
                await asyncio.wait([sending])
                assert sent < 20_000_000, "the server takes no more of it"
        async with connection(chatd) as (reader, writer):  # a head that is complete at once
            writer.write(HEAD + b"X-A: " + b"a" * 20_000 + b"\r\n\r\n")
            answer = await read_to_end(reader)
            assert answer.startswith(b"HTTP/1.1 431 ")
            assert b'"head_too_large"' in answer
        answer = await chatd.api.http.get("/livez", headers={"x-a": "a" * 15_000})
        assert answer.status_code == 200


@pytest.mark.parametrize(
    ("sent", "trickled", "answer"),
    [
        (b"", b"", b""),
        (b"", b"\r\n", b"HTTP/1.1 408 "),
        (b"GET", b"", b"HTTP/1.1 408 "),
        (HEAD, b"X-A: b\r\n", b"HTTP/1.1 408 "),
        (POST + b"Content-Length: 1000\r\n\r\n", b"", b"HTTP/1.1 408 "),
        (POST + b"Content-Length: 1000\r\n\r\n", b" ", b"HTTP/1.1 408 "),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n", b"HTTP/1.1 408 "),
        (POST.replace(b"/chats", b"/no") + b"Content-Length: 9999\r\n\r\n", b" ", b"HTTP/1.1 4"),
    ],
    ids=["mute", "blank lines", "start", "headers", "no body", "body", "chunks", "body of no one"],
)
async def test_mute_and_trickling_connections_end(
    dsn: str, sent: bytes, trickled: bytes, answer: bytes
) -> None:
    async with running_daemon(dsn, http=SHORT) as chatd:
        async with connection(chatd) as (reader, writer):
            writer.write(sent)

            async def trickle() -> None:
                with suppress(OSError):
                    while trickled:
                        await asyncio.sleep(0.05)
                        writer.write(trickled)
                        await writer.drain()

            trickling = asyncio.create_task(trickle())
            received = await read_to_end(reader)
            trickling.cancel()
            await asyncio.wait([trickling])
        assert received.startswith(answer)
        assert received.count(b"HTTP/1.1 ") == bool(answer)
        assert (await chatd.api.http.get("/livez")).status_code == 200


async def test_deadlines_leave_streams_and_idle_connections_alone(dsn: str) -> None:
    async with running_daemon(dsn, http=SHORT) as chatd:
        chat = await chatd.api.create()
        path = f"/api/v1/chats/{chat['id']}"
        async with open_stream(chatd, f"{path}/stream") as stream, connection(chatd) as (r, w):
            lines = stream.aiter_lines()
            await anext(lines)
            w.write(HEAD + b"\r\n")
            await r.readuntil(b"}")
            await asyncio.sleep(2 * SHORT["head_timeout_seconds"])
            w.write(HEAD + b"\r\n")  # the connection was idle, and is still there
            assert (await r.readline()).startswith(b"HTTP/1.1 200")
            await chatd.api.http.patch(path, json={"title": "new"})
            async with asyncio.timeout(TIMEOUT_SECONDS):
                async for line in lines:
                    if '"new"' in line:
                        break


async def test_number_of_connections_is_bounded(dsn: str) -> None:
    async with running_daemon(dsn, http={"max_connections": 3}) as chatd:
        async with connection(chatd) as one, connection(chatd) as two, connection(chatd) as three:
            for reader, writer in (one, two, three):
                writer.write(HEAD + b"\r\n")
                assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            async with connection(chatd) as (reader, writer):
                writer.write(HEAD + b"\r\n")
                answer = await read_to_end(reader)
                assert answer.startswith(b"HTTP/1.1 503 ")
                assert b'"too_many_connections"' in answer
                assert b"retry-after: " in answer.lower()
            problems = chatd.daemon.services.metrics.http.problems
            assert problems.values["too_many_connections",] == 1

        async def served_again() -> bool:
            async with connection(chatd) as (reader, writer):
                writer.write(HEAD + b"\r\n")
                return (await reader.readline()).startswith(b"HTTP/1.1 200")

        await eventually(served_again)


async def test_kernel_closes_connections_of_dead_peers(dsn: str) -> None:
    async with running_daemon(dsn) as chatd, connection(chatd):

        def accepted() -> list[HttpProtocol]:
            every = (one for one in gc.get_objects() if isinstance(one, HttpProtocol))
            return [one for one in every if one in one.connections]

        await eventually(accepted)
        for protocol in accepted():
            sock = protocol.transport.get_extra_info("socket")
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) > 0
