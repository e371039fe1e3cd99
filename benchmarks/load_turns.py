"""Turns of the load generator: of chatd, whose clients keep a stream open, and of the floor."""

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from benchmarks.http1 import HttpConnection, connect
from benchmarks.load_adapters import AdapterClient

Task = dict[str, Any]

QUESTION = b'{"content": "Which way to the station?"}'
EMPTY_BODY = b"{}"
ID = re.compile(rb'"id": ?"([0-9a-f-]{36})"')
FIRST_PART = re.compile(rb'event: message_part|"parts":\[\{|"role":"assistant"')
"""A part, or a snapshot that holds one already."""
TURN_END = re.compile(rb'"status": ?"(waiting|error)"')
_VERSION = re.compile(rb'"version": ?(\d+)')
_END_OF_ANSWER = re.compile(rb"\r\n0\r\n\r\n")
_WARMUP_SECONDS = 0.25
_TURNS_PER_CHAT = 10


class TurnFailedError(Exception):
    """A turn ended in an error, so there is nothing to measure."""


class TurnClient(Protocol):
    """One client, which runs one turn after another."""

    async def run_turn(self) -> float:
        """Run a turn, and return when its first part arrived."""

    def close(self) -> None: ...


class ChatClient:
    """A client that posts messages, and makes a new chat at each tenth turn.

    It keeps the stream of its chat open, unless it ``reopens`` it after each POST.
    """

    def __init__(
        self, url: str, *, body: bytes = QUESTION, chat_id: str = "", reopens: bool = False
    ):
        self._url = url
        self._body = body
        self._chat_id = chat_id
        self._keeps_chat = bool(chat_id)
        self._reopens = reopens
        self._turns = 0
        self._connection: HttpConnection | None = None
        self._stream: HttpConnection | None = None

    async def run_turn(self) -> float:
        if self._connection is None:
            self._connection = await connect(self._url)
        if not self._keeps_chat and self._turns % _TURNS_PER_CHAT == 0:
            self._chat_id = await create_chat(self._connection, EMPTY_BODY)
            self._close_stream()
        if self._stream is None and not self._reopens:
            self._stream = await open_stream(self._url, self._chat_id)
            await wait_for_turn_end(self._stream, 0)
        self._turns += 1
        if self._stream is not None:
            self._stream.buffer.clear()
        answer = await self._connection.post(f"/api/v1/chats/{self._chat_id}/messages", self._body)
        if self._reopens:
            version = _VERSION.search(answer.body)
            if version is None:
                raise TurnFailedError(f"{answer.status} {answer.body[:300]!r}")
            after = f"?after={version[1].decode()}.0.0"
            self._stream = await open_stream(self._url, self._chat_id, after)
        assert self._stream is not None  # noqa: S101 - opened above
        await self._stream.wait_for(FIRST_PART)
        first = time.monotonic()
        await wait_for_turn_end(self._stream, 0)
        if self._reopens:
            self._close_stream()
        return first

    def _close_stream(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def close(self) -> None:
        self._close_stream()
        if self._connection is not None:
            self._connection.close()


class FloorClient:
    """A client of the floor, whose answer to a POST is the stream of the turn."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: HttpConnection | None = None

    async def run_turn(self) -> float:
        if self._connection is None:
            self._connection = await connect(self._url)
        self._connection.request_post("/turns", QUESTION)
        await self._connection.wait_for(FIRST_PART)
        first = time.monotonic()
        await self._connection.wait_for(_END_OF_ANSWER)
        self._connection.buffer.clear()
        return first

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()


def turn_client(task: Task) -> TurnClient:
    """Return a client of the server that a task names."""
    if task.get("floor"):
        return FloorClient(task["url"])
    if "dialect" in task:
        return AdapterClient(task["url"], task["dialect"], task["question"])
    body = json.dumps({"content": task["question"]}).encode() if "question" in task else QUESTION
    return ChatClient(
        task["url"],
        body=body,
        chat_id=task.get("chat", ""),
        reopens=task.get("reopens", False),
    )


async def turns(task: Task) -> Task:
    """Keep ``chats`` turns under way at once.

    Turns are counted for ``seconds``, from when as many turns have ended as are active at once. Before that
    all start together, which a short window would not average out.
    """
    chats, seconds = task["chats"], task["seconds"]
    warm, begun = time.monotonic() + _WARMUP_SECONDS, float("inf")
    moments: list[tuple[float, float, float]] = []

    async def keep_one() -> None:
        nonlocal begun
        client = turn_client(task)
        while (now := time.monotonic()) < begun + seconds:
            first = await client.run_turn()
            moments.append((now, first, time.monotonic()))
            if begun == float("inf") and len(moments) >= chats and now >= warm:
                begun = time.monotonic()
        client.close()

    await asyncio.gather(*(keep_one() for _ in range(chats)))
    counted = [(sent, first, end) for sent, first, end in moments if begun < end <= begun + seconds]
    return {
        "turns": len(counted),
        "all": len(moments),
        "first": [first - sent for sent, first, _ in counted],
        "whole": [end - sent for sent, _, end in counted],
    }


async def counted_turns(task: Task) -> Task:
    """Run ``turns`` turns, one after another, in a chat that exists or in new ones."""
    client = turn_client(task)
    await client.run_turn()
    first = []
    for _ in range(task["turns"]):
        sent = time.monotonic()
        first.append(await client.run_turn() - sent)
    client.close()
    return {"first": first}


async def make_chat(task: Task) -> Task:
    """Create a chat of ``messages`` messages, half of them long ``question``s, and return its id."""
    connection = await connect(task["url"])
    chat_id = await create_chat(connection, EMPTY_BODY)
    client = turn_client(task | {"chat": chat_id})
    for _ in range(task["messages"] // 2):
        await client.run_turn()
    client.close()
    connection.close()
    return {"chat": chat_id}


async def create_chat(connection: HttpConnection, body: bytes) -> str:
    answer = await connection.post("/api/v1/chats", body)
    found = ID.search(answer.body)
    if found is None:
        raise TurnFailedError(f"{answer.status} {answer.body[:300]!r}")
    return found[1].decode()


async def open_stream(url: str, chat_id: str, query: str = "") -> HttpConnection:
    stream = await connect(url)
    stream.request_stream(f"/api/v1/chats/{chat_id}/stream{query}")
    return stream


async def wait_for_turn_end(stream: HttpConnection, start: int) -> int:
    """Wait until the turn has ended without an error; return the position of its end in the stream."""
    found = await stream.wait_for(TURN_END, start)
    if found[1] == b"error":
        raise TurnFailedError(bytes(stream.buffer[-600:]).decode(errors="replace"))
    return found.end()


TURN_TASKS: dict[str, Callable[[Task], Awaitable[Task]]] = {
    each.__name__: each for each in (turns, counted_turns, make_chat)
}
