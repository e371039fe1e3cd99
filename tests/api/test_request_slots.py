"""Requests of one owner wait for each other, and not those of others for them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import anyio
import httpx2
import pytest
from support.auth import authenticated_daemons, create_chat_as, get_as
from support.concurrency import chats_locked
from support.eventually import eventually
from support.providers import scripted
from support.requests import assert_problem, open_stream

from chatd.api.middleware import request_slots
from chatd.store.database import Database

CHATS = "/api/v1/chats"
BOUND_SECONDS = 5.0
"""Much longer than a response takes, and half of the time for which statements wait for a connection."""
NO_WORKER = {"enabled": False}


async def test_requests_of_one_owner_leave_connections_to_others(
    dsn: str, database: Database
) -> None:
    """Bob is served while all of Ann's requests wait for the database."""
    async with authenticated_daemons(
        dsn, scripted(), limits={"max_requests": 2}, database={"pool_size": 3}, worker=NO_WORKER
    ) as at:
        ann, bob = await at.new_caller_headers("ann"), await at.new_caller_headers("bob")
        used = at.chatd.daemon.services.database
        async with asyncio.TaskGroup() as group:
            async with chats_locked(database):
                posts = [
                    group.create_task(at.chatd.api.http.post(CHATS, json={}, headers=ann))
                    for _ in range(20)
                ]
                await eventually(lambda: used.connections_in_use == 2)
                with anyio.fail_after(BOUND_SECONDS):
                    assert (await get_as(at.chatd, "/api/v1/models", bob)).status_code == 200
                    assert (await at.chatd.api.http.get("/readyz")).status_code == 200
            await asyncio.wait(posts)
        assert {post.result().status_code for post in posts} == {201}


async def test_request_that_waits_for_too_long_is_refused(
    dsn: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_slots, "WAIT_SECONDS", 0.1)
    async with authenticated_daemons(
        dsn, scripted(), limits={"max_requests": 1}, worker=NO_WORKER
    ) as at:
        ann = await at.new_caller_headers("ann")
        async with asyncio.TaskGroup() as group:
            async with chats_locked(database):
                held = group.create_task(at.chatd.api.http.post(CHATS, json={}, headers=ann))
                await eventually(lambda: at.chatd.daemon.services.database.connections_in_use)
                refused = await get_as(at.chatd, "/api/v1/models", ann)
                assert_problem(refused, 429, "too_many_requests", "limits.max_requests")
            await asyncio.wait([held])
        assert (await get_as(at.chatd, "/api/v1/models", ann)).status_code == 200


async def test_body_that_still_arrives_is_no_request(dsn: str) -> None:
    """A client that sends slowly keeps no other request of its owner waiting."""
    more = anyio.Event()

    async def slow_body() -> AsyncIterator[bytes]:
        yield b'{"title": '
        await more.wait()
        yield b'"late"}'

    async with authenticated_daemons(
        dsn, scripted(), limits={"max_requests": 1}, worker=NO_WORKER
    ) as at:
        ann = await at.new_caller_headers("ann")
        async with asyncio.TaskGroup() as group:
            headers = ann | {"content-type": "application/json"}
            late = group.create_task(
                at.chatd.api.http.post(CHATS, content=slow_body(), headers=headers)
            )
            with anyio.fail_after(BOUND_SECONDS):
                for _ in range(3):
                    assert (await create_chat_as(at.chatd, ann))["title"] == ""
            more.set()
            await asyncio.wait([late])
        assert late.result().json()["title"] == "late"


async def test_bodies_that_arrive_at_once_are_bounded(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refusal says which bound it is, not that of requests."""
    monkeypatch.setattr(request_slots, "WAIT_SECONDS", 0.1)
    more, arriving = anyio.Event(), 0

    async def slow_body() -> AsyncIterator[bytes]:
        nonlocal arriving
        yield b"{"
        arriving += 1
        await more.wait()
        yield b"}"

    async with authenticated_daemons(
        dsn, scripted(), limits={"max_requests": request_slots.MAX_BODIES}, worker=NO_WORKER
    ) as at:
        ann = await at.new_caller_headers("ann") | {"content-type": "application/json"}
        async with asyncio.TaskGroup() as group:
            posts = [
                group.create_task(at.chatd.api.http.post(CHATS, content=slow_body(), headers=ann))
                for _ in range(request_slots.MAX_BODIES)
            ]
            await eventually(lambda: arriving == len(posts))

            async def refusal() -> httpx2.Response | None:
                answer = await at.chatd.api.http.post(CHATS, content=b"{}", headers=ann)
                return answer if answer.status_code == 429 else None

            refused = await eventually(refusal)
            assert_problem(refused, 429, "too_many_requests", "bodies arrive at once: at most 8")
            more.set()
            await asyncio.wait(posts)
        assert {post.result().status_code for post in posts} == {201}


async def test_large_bodies_are_worked_on_one_at_a_time(dsn: str, database: Database) -> None:
    async with authenticated_daemons(
        dsn, scripted(), limits={"max_requests": 2}, worker=NO_WORKER
    ) as at:
        ann = await at.new_caller_headers("ann")
        used = at.chatd.daemon.services.database
        large = {"content": "x" * 300_000}
        async with asyncio.TaskGroup() as group:
            async with chats_locked(database):
                posts = [
                    group.create_task(at.chatd.api.http.post(CHATS, json=large, headers=ann))
                    for _ in range(5)
                ]
                await eventually(lambda: used.connections_in_use == 1)
                with anyio.fail_after(BOUND_SECONDS):
                    for _ in range(3):
                        assert (await get_as(at.chatd, "/api/v1/models", ann)).status_code == 200
                assert used.connections_in_use == 1
            await asyncio.wait(posts)
        assert {post.result().status_code for post in posts} == {201}


async def test_searches_that_wait_keep_no_request_waiting(dsn: str, database: Database) -> None:
    """The first search takes one of the two slots. The others take none."""
    async with authenticated_daemons(
        dsn,
        scripted(),
        limits={"max_requests": 2, "max_searches": 1},
        database={"search_timeout_seconds": 8.0},
        worker=NO_WORKER,
    ) as at:
        ann = await at.new_caller_headers("ann")
        used = at.chatd.daemon.services.database
        async with asyncio.TaskGroup() as group:
            async with chats_locked(database):
                searches = [
                    group.create_task(get_as(at.chatd, f"{CHATS}?q=a", ann)) for _ in range(3)
                ]
                await eventually(lambda: used.connections_in_use == 1)
                with anyio.fail_after(BOUND_SECONDS):
                    assert (await get_as(at.chatd, "/api/v1/models", ann)).status_code == 200
            await asyncio.wait(searches)
        assert searches[0].result().status_code == 200


async def test_open_streams_are_no_requests(dsn: str) -> None:
    async with (
        authenticated_daemons(dsn, scripted(), limits={"max_requests": 1}) as at,
        AsyncExitStack() as stack,
    ):
        ann = await at.new_caller_headers("ann")
        chat_id = (await create_chat_as(at.chatd, ann))["id"]
        for path in (f"{CHATS}/{chat_id}/stream", f"{CHATS}/stream") * 2:
            stream = open_stream(at.chatd, path, headers=ann)
            assert (await stack.enter_async_context(stream)).status_code == 200
        with anyio.fail_after(BOUND_SECONDS):
            assert (await get_as(at.chatd, CHATS, ann)).status_code == 200
