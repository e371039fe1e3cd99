"""Raw events of streams, read from connections that a test ends anywhere."""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio

from support.eventually import TIMEOUT_SECONDS, eventually
from support.in_process import InProcessDaemon
from support.openapi_conformance import assert_event_documented
from support.sse_client import ChatView, SseEvent

PlainEvent = tuple[str, Any, str | None]


LARGE_LABELS = {f"label {n}": "\N{GRINNING FACE}" * 1000 for n in range(16)}
"""Labels that make an event of about 64 kB: some of them fill the buffers of a connection."""


def stream_path(chat_id: str) -> str:
    return f"/api/v1/chats/{chat_id}/stream"


async def chat_stream_events(
    chatd: InProcessDaemon, chat_id: str, after: str | None = None, *, after_in_query: bool = False
) -> AsyncGenerator[SseEvent | None]:
    """Yield the events of one connection to a chat, and None for each comment (keep-alive)."""
    async for event in stream_events(
        chatd, f"/api/v1/chats/{chat_id}/stream", after, after_in_query=after_in_query
    ):
        yield event


async def stream_events(
    chatd: InProcessDaemon, path: str, after: str | None = None, *, after_in_query: bool = False
) -> AsyncGenerator[SseEvent | None]:
    """Yield the events of any stream, and None for each comment.

    A cursor stands in the query as it is, as a person writes it.
    """
    headers = {"last-event-id": after} if after is not None and not after_in_query else {}
    url = f"{path}?after={after}" if after is not None and after_in_query else path
    async with chatd.api.http.stream("GET", url, headers=headers) as answer:
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"].startswith("text/event-stream")
        fields: dict[str, str] = {}
        async for line in answer.aiter_lines():
            if line.startswith(":"):
                yield None
            elif line:
                name, _, value = line.partition(": ")
                assert name in {"event", "id", "data"}, line
                fields[name] = value
            elif "event" in fields:
                event = SseEvent(fields["event"], json.loads(fields["data"]), fields.get("id"))
                assert_event_documented(answer.request, event.event, event.data, event.id)
                yield event
                fields = {}


@dataclass
class BackgroundSubscriber:
    """Connection that is read in the background. ``task`` ends with the stream."""

    events: list[SseEvent]
    task: "asyncio.Task[None]"


@asynccontextmanager
async def background_subscriber(
    chatd: InProcessDaemon, chat_id: str
) -> AsyncIterator[BackgroundSubscriber]:
    """Read a stream in the background, and disconnect at the end. The snapshot was read on entry."""
    heard: list[SseEvent] = []

    async def collect() -> None:
        async with aclosing(chat_stream_events(chatd, chat_id)) as events:
            async for event in events:
                heard.extend([event] if event else [])

    task = asyncio.create_task(collect())
    try:
        await eventually(lambda: heard or task.done())
        yield BackgroundSubscriber(heard, task)
    finally:
        task.cancel()
        await asyncio.wait([task])
    if not task.cancelled():
        task.result()


async def available_events(
    chatd: InProcessDaemon, chat_id: str, after: str | None = None
) -> list[SseEvent]:
    """Return the events up to the first keep-alive, or to the end of the stream."""
    heard: list[SseEvent] = []
    with anyio.fail_after(TIMEOUT_SECONDS):
        async with aclosing(chat_stream_events(chatd, chat_id, after)) as events:
            async for event in events:
                if event is None:
                    break
                heard.append(event)
    return heard


async def apply_some(chatd: InProcessDaemon, chat_id: str, view: ChatView, max_events: int) -> int:
    """Apply at most so many events of one connection, then disconnect. Return their number."""
    count = 0
    with anyio.fail_after(TIMEOUT_SECONDS):
        async with aclosing(chat_stream_events(chatd, chat_id, view.cursor)) as events:
            while count < max_events:
                event = await anext(events, None)
                if event is None:
                    break
                view.apply(event)
                count += 1
    return count


def journal_events(events: list[SseEvent]) -> list[PlainEvent]:
    """Return the events that every client of a chat gets from the journal, each with its version.

    The parts that a client got before differ by client, and are part of its cursors.
    """
    return [(e.event, e.data, journal_position(e)) for e in events if e.event != "message_part"]


def journal_position(event: SseEvent) -> str | None:
    if event.id is None:
        return None
    version, epoch, part = event.id.split(".")
    return f"{version}.{epoch}{part[part.find('+') :] if '+' in part else ''}"


@asynccontextmanager
async def non_reading_client(chatd: InProcessDaemon, path: str) -> AsyncIterator[socket.socket]:
    """Open a stream on a connection that is not read, with the smallest receive window possible."""
    assert chatd.daemon.server is not None
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(connection, ("127.0.0.1", chatd.daemon.server.port))
        request = f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n"
        await loop.sock_sendall(connection, request.encode())
        yield connection


async def read_to_end(connection: socket.socket) -> bytes:
    """Return all bytes that were sent before the stream ended."""
    read = bytearray()
    loop = asyncio.get_running_loop()
    with anyio.fail_after(TIMEOUT_SECONDS):
        while not read.endswith(b"\r\n0\r\n\r\n"):
            piece = await loop.sock_recv(connection, 1 << 20)
            assert piece, "cut off rather than ended"
            read += piece
    return bytes(read)
