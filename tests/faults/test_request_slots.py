"""Requests that wait for others of their owner, while all of them wait for the database."""

import asyncio

import pytest
from support.eventually import eventually
from support.in_process import running_daemon
from support.postgres_proxy import PostgresProxy
from support.requests import assert_problem

from chatd.api.middleware import request_slots

CHATS = "/api/v1/chats"
SHORT = {"statement_timeout_seconds": 2.0, "connect_timeout_seconds": 2.0}


async def test_stalled_database_is_503_and_not_429(
    proxy: PostgresProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process knows that the database is away, and so the owner is not told to send less."""
    monkeypatch.setattr(request_slots, "WAIT_SECONDS", 0.1)
    async with running_daemon(
        proxy.dsn, limits={"max_requests": 1}, worker={"enabled": False}, database=SHORT
    ) as chatd:
        http = chatd.api.http
        proxy.stall()

        async def is_unavailable() -> bool:
            return (await http.get("/readyz")).status_code == 503

        await eventually(is_unavailable)
        answers = await asyncio.gather(*(http.get(CHATS) for _ in range(5)))
        for answer in answers:
            assert_problem(answer, 503, "database_unavailable")
            assert "retry-after" in answer.headers
        proxy.resume()
