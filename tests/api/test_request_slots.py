"""Requests of one owner wait for each other, and not those of others for them."""

import asyncio
from contextlib import AsyncExitStack

import anyio
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
