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
_RETRY_SECONDS = 1.0
"""Pause after a refusal, as its Retry-After says."""
_BODY_BYTES = 4_000_000
_SEARCHES, _POSTS, _LARGE_BODIES = 8, 32, 2
"""Connections of the owner at every limit, by what they do."""


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
        answer = await connection.post("/api/v1/chats", _QUESTION)
        found = _ID.search(answer.body)
        if found is None:
            raise RuntimeError(f"{answer.status} {answer.body[:300]!r}")
        stream = await connect(task["url"], token=task["token"])
        stream.request_stream(f"/api/v1/chats/{found[1].decode()}/stream")
        await stream.wait_for(_FIRST_PART)
        first_parts.append(time.monotonic() - sent)
        stream.close()
        await asyncio.sleep(0.1)
    over.set()
    await probing
    connection.close()
    return {"first": first_parts, "probes": probes}


async def owner_at_every_limit(task: Task) -> Task:
    """Have 1,000 chats in flight with a stream each, and search, post and send large bodies meanwhile.

    Return the numbers of responses by what was asked and status.
    """
    url, token = task["url"], task["token"]
    deadline = time.monotonic() + task["seconds"]
    answers: Counter[str] = Counter()
    held: list[HttpConnection] = []

    async def ask(connection: HttpConnection, what: str, path: str, body: bytes | None) -> bytes:
        sending = connection.get(path) if body is None else connection.post(path, body)
        answer = await sending
        answers[f"{what} {answer.status}"] += 1
        if answer.status in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
            await asyncio.sleep(_RETRY_SECONDS)
        return answer.body

    async def repeat(what: str, path: str, body: bytes | None = None) -> None:
        connection = await connect(url, token=token)
        while time.monotonic() < deadline:
            await ask(connection, what, path, body)
        connection.close()

    async def hold_chats(count: int) -> None:
        connection = await connect(url, token=token)
        for _ in range(count):
            if time.monotonic() > deadline:
                break
            found = _ID.search(await ask(connection, "chat", "/api/v1/chats", _HANGING))
            if found is not None:
                stream = await connect(url, token=token)
                stream.request_stream(f"/api/v1/chats/{found[1].decode()}/stream")
                held.append(stream)
        connection.close()

    large = b'{"content": "%b"}' % (b"x" * _BODY_BYTES)
    await asyncio.gather(
        *(hold_chats(task["chats"] // 4) for _ in range(4)),
        *(repeat("search", "/api/v1/chats?q=nothing") for _ in range(_SEARCHES)),
        *(repeat("post", "/api/v1/chats", b"{}") for _ in range(_POSTS)),
        *(repeat("large", "/api/v1/chats", large) for _ in range(_LARGE_BODIES)),
    )
    for stream in held:
        stream.close()
    return {"answers": dict(answers), "streams": len(held)}
