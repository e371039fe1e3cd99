"""Searches of one owner leave the database to everybody else."""

import asyncio

import anyio
from support.auth import authenticated_daemons, get_as
from support.concurrency import chats_locked
from support.eventually import eventually
from support.providers import scripted
from support.requests import assert_problem

from chatd.store.database import Database

CHATS = "/api/v1/chats"
SEARCHES = [f"{CHATS}?q=a", f"{CHATS}?label=a", f"{CHATS}?status=error", f"{CHATS}?parent=none"]
LIMITS = {"max_searches": 2, "max_requests": 0}
BOUND_SECONDS = 5.0
"""Much longer than a response takes, and half of the time for which statements wait for a connection."""


async def test_searches_leave_connections_to_others(dsn: str, database: Database) -> None:
    """A new token is checked while the searches of one owner wait for the database."""
    async with authenticated_daemons(
        dsn,
        scripted(),
        limits=LIMITS,
        database={"pool_size": 3, "max_searches": 2, "search_timeout_seconds": 2.0},
        worker={"enabled": False},
    ) as at:
        ann, bob = await at.new_caller_headers("ann"), await at.new_caller_headers("bob")
        used = at.chatd.daemon.services.database
        async with chats_locked(database), asyncio.TaskGroup() as group:
            searches = [
                group.create_task(get_as(at.chatd, path, ann))
                for path in SEARCHES
                for _ in range(5)
            ]
            await eventually(lambda: used.connections_in_use == 2)
            with anyio.fail_after(BOUND_SECONDS):
                assert (await get_as(at.chatd, "/api/v1/models", bob)).status_code == 200
            await asyncio.wait(searches)
        answers = [search.result() for search in searches]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert len(refused) == len(searches) - 2
        for answer in refused:
            assert_problem(answer, 429, "too_many_searches", "limits.max_searches")
        for answer in answers:
            if answer not in refused:
                assert_problem(answer, 503, "search_unavailable", "search_timeout_seconds")
        for path in SEARCHES:
            assert (await get_as(at.chatd, path, ann)).status_code == 200
