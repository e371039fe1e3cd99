"""What a stream's client makes of each thing that a server, or what stands before it, may answer."""

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


def answer(body: str, *, status: int = 200, head: str = SSE, cut: bool = False) -> bytes:
    """An answer; when it is cut, more was announced than comes."""
    length = len(body.encode()) + cut
    return f"HTTP/1.1 {status} X\r\n{head}content-length: {length}\r\n\r\n{body}".encode()


def told(event: str, data: Any = None, cursor: str | None = None) -> str:
    place = f"id: {cursor}\n" if cursor else ""
    return f"event: {event}\ndata: {json.dumps(data or {})}\n{place}\n"


def part(number: int) -> str:
    return told("message_part", {"index": 0, "type": "text", "text": str(number)}, f"1.1.{number}")


def problem(status: int, code: str, head: str = "") -> bytes:
    body = json.dumps({"status": status, "code": code, "detail": f"Because {code}."})
    return answer(body, status=status, head=f"content-type: application/problem+json\r\n{head}")


SNAPSHOT = told(
    "snapshot", {"chat": {"status": "running"}, "messages": [], "queue": [], "parts": []}, "1.1.0"
)
GONE = told("deleted", {"id": "c"}, "9.1.0")


class Server:
    """Gives each request the next answer, and hangs up; ``heads`` is what it was asked."""

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


async def test_a_cut_event_is_told_when_it_is_whole() -> None:
    cut = SNAPSHOT + part(1) + part(2)[:-1]
    async with client_of(answer(cut, cut=True), answer(part(2) + GONE)) as (client, server):
        events = await all_of(client)
    assert [event.id for event in events] == ["1.1.0", "1.1.1", "1.1.2", "9.1.0"]
    assert [type(event) for event in events] == [Snapshot, MessagePart, MessagePart, ChatDeleted]
    assert server.cursors() == [None, "1.1.1"]


async def test_what_is_told_again_is_dropped() -> None:
    again = answer(part(1) + part(2) + GONE)
    async with client_of(answer(SNAPSHOT + part(1), cut=True), again) as (client, _):
        assert [event.id for event in await all_of(client)] == ["1.1.0", "1.1.1", "1.1.2", "9.1.0"]


async def test_it_begins_where_it_is_told_to() -> None:
    async with client_of(answer(GONE)) as (client, server):
        await all_of(client, "4.2.0+1")
        assert server.cursors() == ["4.2.0+1"]


async def test_a_reset_and_its_snapshot_are_passed_on() -> None:
    reset = told("reset", {"reason": "too old"})
    first = answer(part(5) + reset, cut=True)  # the snapshot is not asked for with the old cursor
    async with client_of(first, answer(SNAPSHOT + part(5) + GONE)) as (client, server):
        kinds = [type(event) for event in await all_of(client, "1.1.4")]
    assert kinds == [MessagePart, StreamReset, Snapshot, MessagePart, ChatDeleted]
    assert server.cursors() == ["1.1.4", None]


async def test_draining_is_an_invitation_and_no_event() -> None:
    drained = answer(SNAPSHOT + told("draining"))
    gaps: list[tuple[object, float]] = []
    async with client_of(drained, answer(GONE)) as (client, server):
        events = client.follow("c", on_reconnect=lambda why, delay: gaps.append((why, delay)))
        assert [type(event) async for event in events] == [Snapshot, ChatDeleted]
        assert server.cursors() == [None, "1.1.0"]
    assert gaps == [(None, 0.0)]


async def test_one_that_only_drains_is_not_hammered() -> None:
    only = answer(told("draining"))
    gaps: list[float] = []
    async with client_of(*[only] * 4, answer(GONE)) as (client, _):
        events = client.follow("c", "1.1.1", on_reconnect=lambda _, delay: gaps.append(delay))
        assert [type(event) async for event in events] == [ChatDeleted]
    assert gaps == sorted(gaps)
    assert gaps[0] > 0


async def test_busy_servers_are_asked_again_and_refusals_end_it() -> None:
    busy = [problem(503, "database_unavailable"), answer("", status=502, head=""), answer("")]
    async with client_of(*busy, answer(SNAPSHOT), problem(401, "unauthorized")) as (client, _):
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


async def test_what_is_no_chatd_is_named() -> None:
    async with client_of(answer("<html>", head="content-type: text/html\r\n")) as (client, _):
        with pytest.raises(UnexpectedResponse):
            await all_of(client)
    async with client_of(answer("<html>", head="content-type: text/html\r\n")) as (client, _):
        with pytest.raises(UnexpectedResponse):
            await client.chats.get("c")


async def test_events_of_newer_servers_are_passed_on_unread() -> None:
    async with client_of(answer(told("aha", {"x": 1}, "5.1.0") + GONE)) as (client, _):
        assert (await all_of(client))[0] == UnknownEvent("aha", {"x": 1}, "5.1.0")


async def test_a_wire_that_says_nothing_is_given_up() -> None:
    silent = f"HTTP/1.1 200 X\r\n{SSE}content-length: 999\r\n\r\n{SNAPSHOT}".encode()
    waits = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readuntil(b"\r\n\r\n")
        if b"last-event-id" in asked:
            writer.write(answer(GONE))
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


async def test_among_all_chats_only_what_is_newer_is_told() -> None:
    def moved(chat: str, version: int) -> str:
        return told("chat", {"id": chat, "version": version})

    snapshot = told("snapshot", {"items": [{"id": "a", "version": 3}], "next_cursor": None})
    first = answer(
        snapshot + moved("a", 3) + moved("b", 1) + moved("b", 1) + moved("a", 4), cut=True
    )
    second = answer(
        told("snapshot", {"items": [{"id": "a", "version": 4}], "next_cursor": None})
        + moved("a", 4) + moved("b", 2) + told("deleted", {"id": "b"}, "m1") + moved("c", 1)
        + told("chat", {"id": "d", "version": 1}, "m1") + told("deleted", {"id": "b"}) + moved("b", 3)
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


async def test_limits_are_waited_for_when_they_say_how_long() -> None:
    limited = problem(429, "rate_limited", "retry-after: 0\r\n")
    made = answer('{"id": "c"}', status=201, head=JSON)
    async with client_of(limited, limited, made, problem(429, "queue_full")) as (client, server):
        assert (await client.chats.create("hello"))["id"] == "c"
        keys = {
            line for head in server.heads for line in head.split("\r\n") if "idempotency" in line
        }
        assert len(server.heads) == 3
        assert len(keys) == 1
        with pytest.raises(TooManyRequests, match="queue_full"):
            await client.chats.create("hello")


async def test_a_wait_beyond_patience_is_an_error_at_once() -> None:
    away = problem(503, "database_unavailable", "retry-after: 3600\r\n")
    async with client_of(away, retry_timeout_seconds=5.0) as (client, _):
        with pytest.raises(ServerError) as caught:
            await client.chats.get("c")
        assert caught.value.retry_after == 3600


async def test_it_says_who_it_is() -> None:
    async with client_of(answer("{}", head=JSON), token="geheim", owner="ada") as (client, server):
        await client.chats.get("c")
        assert "\r\nauthorization: bearer geheim\r\n" in server.heads[0]
        assert "\r\nx-chatd-owner: ada\r\n" in server.heads[0]


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ({}, "limit=50"),
        ({"page_size": 7}, "limit=7"),
        ({"max_items": 5}, "limit=5"),
        ({"max_items": 1000}, "limit=200"),
        ({"page_size": 7, "max_items": 1000}, "limit=7"),
    ],
    ids=str,
)
async def test_a_list_is_asked_for_in_pages_of_a_wanted_size(
    given: dict[str, int], asked: str
) -> None:
    page = answer('{"items": [], "next_cursor": null}', head=JSON)
    async with client_of(page) as (client, server):
        assert [chat async for chat in client.chats.list(**given)] == []
        assert f"{asked} " in server.heads[0]


def test_events_of_streams_are_told_apart_by_class() -> None:
    assert StatusChanged.event == "status"
    assert PreviewReset({}, "1.1.1") != PreviewReset({}, "1.1.2")
