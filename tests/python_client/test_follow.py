"""Streams of the Python client against every kind of response of a server or proxy."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from support.eventually import TIMEOUT_SECONDS

from chatd.client import (
    ChatChanged,
    ChatDeleted,
    ChatEvent,
    ChatListSnapshot,
    Client,
    MessagePart,
    NotFound,
    PreviewReset,
    ServerError,
    Snapshot,
    StatusChanged,
    StreamReset,
    TooManyRequests,
    Unauthorized,
    UnexpectedResponse,
    UnknownEvent,
)

SSE = "content-type: text/event-stream\r\n"
JSON = "content-type: application/json\r\n"


def response(body: str, *, status: int = 200, head: str = SSE, truncated: bool = False) -> bytes:
    """Return a response. A truncated one is shorter than its Content-Length."""
    length = len(body.encode()) + truncated
    return f"HTTP/1.1 {status} X\r\n{head}content-length: {length}\r\n\r\n{body}".encode()


def sse(event: str, data: Any = None, cursor: str | None = None) -> str:
    place = f"id: {cursor}\n" if cursor else ""
    return f"event: {event}\ndata: {json.dumps(data or {})}\n{place}\n"


def part(number: int) -> str:
    return sse("message_part", {"index": 0, "type": "text", "text": str(number)}, f"1.1.{number}")


def problem(status: int, code: str, head: str = "") -> bytes:
    body = json.dumps({"status": status, "code": code, "detail": f"Because {code}."})
    return response(body, status=status, head=f"content-type: application/problem+json\r\n{head}")


SNAPSHOT = sse(
    "snapshot", {"chat": {"status": "running"}, "messages": [], "queue": [], "parts": []}, "1.1.0"
)
DELETED = sse("deleted", {"id": "c"}, "9.1.0")


class Server:
    """Server that sends each request the next response and closes. ``heads`` are the request heads."""

    def __init__(self, answers: list[bytes]) -> None:
        self._answers = iter(answers)
        self.heads: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode().lower())
        writer.write(next(self._answers, b""))
        await writer.drain()
        writer.close()

    def cursors(self) -> list[str | None]:
        return [
            next(
                (line[15:] for line in head.split("\r\n") if line.startswith("last-event-id")), None
            )
            for head in self.heads
        ]


@asynccontextmanager
async def client_of(*answers: bytes, **more: Any) -> AsyncIterator[tuple[Client, Server]]:
    server = Server([*answers])
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        async with Client(f"http://127.0.0.1:{port}", **more) as client:
            with anyio.fail_after(TIMEOUT_SECONDS):
                yield client, server


async def all_of(client: Client, after: str | None = None) -> list[ChatEvent]:
    return [event async for event in client.follow("c", after)]


async def test_truncated_event_is_delivered_once_complete() -> None:
    partial = SNAPSHOT + part(1) + part(2)[:-1]
    async with client_of(response(partial, truncated=True), response(part(2) + DELETED)) as (
        client,
        server,
    ):
        events = await all_of(client)
    assert [event.id for event in events] == ["1.1.0", "1.1.1", "1.1.2", "9.1.0"]
    assert [type(event) for event in events] == [Snapshot, MessagePart, MessagePart, ChatDeleted]
    assert server.cursors() == [None, "1.1.1"]


async def test_repeated_events_are_dropped() -> None:
    again = response(part(1) + part(2) + DELETED)
    async with client_of(response(SNAPSHOT + part(1), truncated=True), again) as (client, _):
        assert [event.id for event in await all_of(client)] == ["1.1.0", "1.1.1", "1.1.2", "9.1.0"]


async def test_stream_starts_after_given_cursor() -> None:
    async with client_of(response(DELETED)) as (client, server):
        await all_of(client, "4.2.0~1")
        assert server.cursors() == ["4.2.0~1"]


async def test_reset_and_its_snapshot_are_delivered() -> None:
    reset = sse("reset", {"reason": "too old"})
    first = response(
        part(5) + reset, truncated=True
    )  # the snapshot is requested without the old cursor
    async with client_of(first, response(SNAPSHOT + part(5) + DELETED)) as (client, server):
        kinds = [type(event) for event in await all_of(client, "1.1.4")]
    assert kinds == [MessagePart, StreamReset, Snapshot, MessagePart, ChatDeleted]
    assert server.cursors() == ["1.1.4", None]


async def test_draining_reconnects_at_once_without_an_event() -> None:
    drained = response(SNAPSHOT + sse("draining"))
    reconnects: list[tuple[object, float]] = []
    async with client_of(drained, response(DELETED)) as (client, server):
        events = client.follow("c", on_reconnect=lambda why, delay: reconnects.append((why, delay)))
        assert [type(event) async for event in events] == [Snapshot, ChatDeleted]
        assert server.cursors() == [None, "1.1.0"]
    assert reconnects == [(None, 0.0)]


async def test_server_that_only_drains_is_backed_off() -> None:
    only = response(sse("draining"))
    reconnects: list[float] = []
    async with client_of(*[only] * 4, response(DELETED)) as (client, _):
        events = client.follow("c", "1.1.1", on_reconnect=lambda _, delay: reconnects.append(delay))
        assert [type(event) async for event in events] == [ChatDeleted]
    assert reconnects == sorted(reconnects)
    assert reconnects[0] > 0


async def test_delays_begin_anew_once_a_stream_has_sent_events() -> None:
    failed = problem(503, "database_unavailable")
    reconnects: list[float] = []
    answers = (failed, failed, response(SNAPSHOT, truncated=True), response(DELETED))
    async with client_of(*answers) as (client, _):
        events = client.follow("c", on_reconnect=lambda _, delay: reconnects.append(delay))
        assert [type(event) async for event in events] == [Snapshot, ChatDeleted]
    assert reconnects[1] >= 0.1 >= reconnects[2]


async def test_503_is_retried_and_401_ends_the_stream() -> None:
    busy = [problem(503, "database_unavailable"), response("", status=502, head=""), response("")]
    async with client_of(*busy, response(SNAPSHOT), problem(401, "unauthorized")) as (client, _):
        events = client.follow("c")
        assert isinstance(await anext(events), Snapshot)
        with pytest.raises(Unauthorized, match="Because unauthorized") as caught:
            await anext(events)
        assert caught.value.code == "unauthorized"
        with pytest.raises(StopAsyncIteration):
            await anext(events)
    async with client_of(problem(404, "chat_not_found")) as (client, _):
        with pytest.raises(NotFound):
            await all_of(client)


async def test_foreign_server_raises_unexpected_response() -> None:
    async with client_of(response("<html>", head="content-type: text/html\r\n")) as (client, _):
        with pytest.raises(UnexpectedResponse):
            await all_of(client)
    async with client_of(response("<html>", head="content-type: text/html\r\n")) as (client, _):
        with pytest.raises(UnexpectedResponse):
            await client.chats.get("c")


async def test_unknown_event_type_is_delivered_as_unknown_event() -> None:
    async with client_of(response(sse("aha", {"x": 1}, "5.1.0") + DELETED)) as (client, _):
        assert (await all_of(client))[0] == UnknownEvent("aha", {"x": 1}, "5.1.0")


async def test_silent_connection_is_replaced() -> None:
    silent = f"HTTP/1.1 200 X\r\n{SSE}content-length: 999\r\n\r\n{SNAPSHOT}".encode()
    waits = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        if b"last-event-id" in request:
            writer.write(response(DELETED))
            waits.set()
        else:
            writer.write(silent)
        await waits.wait()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        async with Client(url, read_timeout_seconds=0.2) as client:
            with anyio.fail_after(TIMEOUT_SECONDS):
                assert [type(event) for event in await all_of(client)] == [Snapshot, ChatDeleted]


async def test_older_versions_of_a_chat_are_dropped() -> None:
    def moved(chat: str, version: int) -> str:
        return sse("chat", {"id": chat, "version": version})

    snapshot = sse("snapshot", {"items": [{"id": "a", "version": 3}], "next_cursor": None})
    first = response(
        snapshot + moved("a", 3) + moved("b", 1) + moved("b", 1) + moved("a", 4), truncated=True
    )
    second = response(
        sse("snapshot", {"items": [{"id": "a", "version": 4}], "next_cursor": None})
        + moved("a", 4) + moved("b", 2) + sse("deleted", {"id": "b"}, "m1") + moved("c", 1)
        + sse("chat", {"id": "d", "version": 1}, "m1") + sse("deleted", {"id": "b"}) + moved("b", 3)
    )  # fmt: skip
    async with client_of(first, second, problem(401, "unauthorized")) as (client, _):
        stream = client.follow_all()
        heard: list[Any] = [await anext(stream) for _ in range(8)]
        with pytest.raises(Unauthorized):
            await anext(stream)
    brief = [(type(e), e.data.get("id"), e.data.get("version")) for e in heard]
    assert brief == [
        (ChatListSnapshot, None, None), (ChatChanged, "b", 1), (ChatChanged, "a", 4),
        (ChatListSnapshot, None, None), (ChatChanged, "b", 2), (ChatDeleted, "b", None),
        (ChatChanged, "c", 1), (ChatChanged, "d", 1),
    ]  # fmt: skip


async def test_429_is_retried_with_retry_after_only() -> None:
    limited = problem(429, "rate_limited", "retry-after: 0\r\n")
    made = response('{"id": "c"}', status=201, head=JSON)
    async with client_of(limited, limited, made, problem(429, "queue_full")) as (client, server):
        assert (await client.chats.create("hello"))["id"] == "c"
        keys = {
            line for head in server.heads for line in head.split("\r\n") if "idempotency" in line
        }
        assert len(server.heads) == 3
        assert len(keys) == 1
        with pytest.raises(TooManyRequests, match="queue_full"):
            await client.chats.create("hello")


@pytest.mark.parametrize("head", ["", "retry-after: 0\r\n"])
async def test_stream_waits_for_a_limit_to_pass(head: str) -> None:
    """A refusal by a limit does not end a stream, whether the response says how long to wait or not."""
    limited = problem(429, "too_many_streams", head)
    answers = (response(SNAPSHOT, truncated=True), limited, limited, response(DELETED))
    async with client_of(*answers) as (client, server):
        assert [type(event) for event in await all_of(client)] == [Snapshot, ChatDeleted]
        assert server.cursors() == [None, "1.1.0", "1.1.0", "1.1.0"]


async def test_retry_after_beyond_the_timeout_fails_at_once() -> None:
    away = problem(503, "database_unavailable", "retry-after: 3600\r\n")
    async with client_of(away, retry_timeout_seconds=5.0) as (client, _):
        with pytest.raises(ServerError) as caught:
            await client.chats.get("c")
        assert caught.value.retry_after == 3600


async def test_token_and_owner_are_sent() -> None:
    async with client_of(response("{}", head=JSON), token="geheim", owner="ada") as (
        client,
        server,
    ):
        await client.chats.get("c")
        assert "\r\nauthorization: bearer geheim\r\n" in server.heads[0]
        assert "\r\nx-chatd-owner: ada\r\n" in server.heads[0]


@pytest.mark.parametrize(
    ("arguments", "expected_query"),
    [
        ({}, "limit=50"),
        ({"page_size": 7}, "limit=7"),
        ({"max_items": 5}, "limit=5"),
        ({"max_items": 1000}, "limit=200"),
        ({"page_size": 7, "max_items": 1000}, "limit=7"),
    ],
    ids=str,
)
async def test_page_size_follows_limit_of_items(
    arguments: dict[str, int], expected_query: str
) -> None:
    page = response('{"items": [], "next_cursor": null}', head=JSON)
    async with client_of(page) as (client, server):
        assert [chat async for chat in client.chats.list(**arguments)] == []
        assert f"{expected_query} " in server.heads[0]


def test_event_types_map_to_different_classes() -> None:
    assert StatusChanged.event == "status"
    assert PreviewReset({}, "1.1.1") != PreviewReset({}, "1.1.2")
