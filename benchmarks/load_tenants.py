"""Tasks of the load generator: one owner that uses all it may, and another one beside it."""

import asyncio
import re
import time
from collections import Counter
from http import HTTPStatus
from typing import Any

from benchmarks.http1 import HttpConnection, connect

Task = dict[str, Any]

_QUESTION = b'{"content": "Which way to the station?"}'
_HANGING = b'{"content": "[[hang]]"}'
_ID = re.compile(rb'"id": ?"([0-9a-f-]{36})"')
_FIRST_PART = re.compile(rb'event: message_part|"parts":\[\{|"role":"assistant"')
_HEAD_END = re.compile(rb"\r\n\r\n")
_RETRY_SECONDS = 1.0
"""Pause after a refusal, as its Retry-After says."""
_BODY_BYTES = 4_000_000
_HOLDERS, _SEARCHES, _POSTS, _LARGE_BODIES, _STREAMS, _TURNS = 4, 8, 32, 2, 4, 4
"""Connections of the owner at every limit, by what they do."""
_PAUSE_SECONDS = 0.05
_FILL_PAUSE_SECONDS = 0.02
"""Stays below the requests per second of an owner: two for each chat, of four holders."""

_held_streams: list[HttpConnection] = []


async def quiet_owner(task: Task) -> Task:
    """Create a chat and wait for the first part of its answer, repeatedly, and ask /readyz meanwhile."""
    first_parts: list[float] = []
    probes: list[float] = []
    over = asyncio.Event()

    async def probe() -> None:
        connection = await connect(task["url"])
        while not over.is_set():
            sent = time.monotonic()
            answer = await connection.get("/readyz")
            probes.append(time.monotonic() - sent if answer.status == HTTPStatus.OK else 60.0)
            await asyncio.sleep(0.1)
        connection.close()

    probing = asyncio.create_task(probe())
    connection = await connect(task["url"], token=task["token"])
    deadline = time.monotonic() + task["seconds"]
    while time.monotonic() < deadline:
        sent = time.monotonic()
        stream = await _follow_new_chat(task["url"], task["token"], connection, _QUESTION)
        first_parts.append(time.monotonic() - sent)
        stream.close()
        await asyncio.sleep(_PAUSE_SECONDS)
    over.set()
    await probing
    connection.close()
    return {"first": first_parts, "probes": probes}


async def fill_owner(task: Task) -> Task:
    """Have ``chats`` chats in flight with a stream each, until ``release_owner``."""
    url, token = task["url"], task["token"]

    async def hold(count: int) -> None:
        connection = await connect(url, token=token)
        for _ in range(count):
            _held_streams.append(await _follow_new_chat(url, token, connection, _HANGING))
            await asyncio.sleep(_FILL_PAUSE_SECONDS)
        connection.close()

    await asyncio.gather(*(hold(task["chats"] // _HOLDERS) for _ in range(_HOLDERS)))
    return {"streams": len(_held_streams)}


async def release_owner(_task: Task) -> Task:
    """Close the streams of ``fill_owner``."""
    while _held_streams:
        _held_streams.pop().close()
    return {}


async def owner_at_every_limit(task: Task) -> Task:
    """Search, post, send large bodies, and ask for more chats and streams, all at once.

    Return the numbers of responses by what was asked and status.
    """
    url, token = task["url"], task["token"]
    deadline = time.monotonic() + task["seconds"]
    answers: Counter[str] = Counter()

    async def note(what: str, status: int) -> None:
        answers[f"{what} {status}"] += 1
        if status in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
            await asyncio.sleep(_RETRY_SECONDS)

    async def repeat(what: str, path: str, body: bytes | None = None) -> None:
        connection = await connect(url, token=token)
        while time.monotonic() < deadline:
            sending = connection.get(path) if body is None else connection.post(path, body)
            await note(what, (await sending).status)
        connection.close()

    async def open_streams(path: str) -> None:
        while time.monotonic() < deadline:
            stream = await connect(url, token=token)
            stream.request_stream(path)
            head = await stream.wait_for(_HEAD_END)
            await note("stream", int(stream.buffer[9 : head.start()][:3]))
            stream.close()

    connection = await connect(url, token=token)
    created = _ID.search((await connection.post("/api/v1/chats", b"{}")).body)
    if created is None:
        raise RuntimeError("The owner at every limit may not create a chat.")
    connection.close()
    path = f"/api/v1/chats/{created[1].decode()}/stream"
    large = b'{"content": "%b"}' % (b"x" * _BODY_BYTES)
    await asyncio.gather(
        *(repeat("search", "/api/v1/chats?q=nothing") for _ in range(_SEARCHES)),
        *(repeat("post", "/api/v1/chats", b"{}") for _ in range(_POSTS)),
        *(repeat("large", "/api/v1/chats", large) for _ in range(_LARGE_BODIES)),
        *(repeat("turn", "/api/v1/chats", _QUESTION) for _ in range(_TURNS)),
        *(open_streams(path) for _ in range(_STREAMS)),
    )
    return {"answers": dict(answers)}


async def _follow_new_chat(
    url: str, token: str, connection: HttpConnection, body: bytes
) -> HttpConnection:
    """Create a chat, and return its stream once it has a part of the answer."""
    answer = await connection.post("/api/v1/chats", body)
    found = _ID.search(answer.body)
    if found is None:
        raise RuntimeError(f"{answer.status} {answer.body[:300]!r}")
    stream = await connect(url, token=token)
    stream.request_stream(f"/api/v1/chats/{found[1].decode()}/stream")
    await stream.wait_for(_FIRST_PART)
    return stream
