"""Claims on send whose response is lost, or whose sender is cancelled: no chat stays without a task."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any
from uuid import UUID

import anyio
import anyio.lowlevel
import pytest
from support.factories import text_content
from support.in_process import InProcessDaemon, running_daemon
from support.providers import scripted

from chatd.domain.errors import DatabaseUnavailable

HELLO = text_content("hello")


def after_each_claim_on_send(chatd: InProcessDaemon, after: Callable[[], Awaitable[None]]) -> None:
    """Have ``after`` awaited when the statement has been committed, before its response arrives."""
    database = chatd.daemon.services.database
    fetch = database.fetch

    async def slow_fetch(query: Any, /, *args: object, **values: object) -> Any:
        rows = await fetch(query, *args, **values)
        if getattr(query, "name", None) == "claims.send_and_claim" and rows:
            await after()
        return rows

    database.fetch = slow_fetch  # type: ignore[method-assign,assignment]


async def test_chat_whose_claim_was_lost_is_given_back_at_once(dsn: str) -> None:
    provider = scripted()
    async with running_daemon(dsn, provider) as chatd:
        chat = await chatd.api.create()
        await chatd.wait_until_no_chat_waits()

        async def lose() -> None:
            raise DatabaseUnavailable

        after_each_claim_on_send(chatd, lose)
        response = await chatd.api.http.post(
            f"/api/v1/chats/{chat['id']}/messages", json={"content": "hello"}
        )
        assert response.status_code == 503
        await chatd.api.wait_for_status(chat["id"], "waiting")
        journal = await chatd.journal(chat["id"])
        assert [entry["transition"] for entry in journal] == [
            "create",
            "send",
            "claim",
            "reap",
            "claim",
            "finish_turn",
        ]
        moments = [datetime.fromisoformat(entry["created_at"]) for entry in journal]
        assert (moments[4] - moments[2]).total_seconds() < 3
        assert provider.calls == 1


async def test_chat_is_given_back_if_the_pool_has_stopped_meanwhile(dsn: str) -> None:
    provider = scripted()
    async with running_daemon(dsn, provider) as chatd:
        chat = await chatd.api.create()
        await chatd.wait_until_no_chat_waits()
        chat_tasks = chatd.daemon.chat_tasks
        assert chat_tasks is not None
        group = chat_tasks._group

        async def stop() -> None:
            chat_tasks._group = None
            asyncio.get_running_loop().call_later(0.1, setattr, chat_tasks, "_group", group)

        after_each_claim_on_send(chatd, stop)
        await chatd.api.send(chat["id"], "hello")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert [e["data"]["reason"] for e in await chatd.journal(chat["id"], "reap")] == ["no_task"]
        assert provider.calls == 1


@pytest.mark.parametrize("native", [False, True], ids=["scope", "task"])
async def test_cancelled_sender_leaves_no_chat_without_a_task(dsn: str, native: bool) -> None:
    provider = scripted()
    async with running_daemon(dsn, provider) as chatd:
        chat_id = UUID((await chatd.api.create())["id"])
        await chatd.wait_until_no_chat_waits()
        committed, go = anyio.Event(), anyio.Event()

        async def wait() -> None:
            committed.set()
            await go.wait()

        after_each_claim_on_send(chatd, wait)
        chats, scope = chatd.daemon.services.store.chats, anyio.CancelScope()

        async def send() -> None:
            with scope:
                await chats.send(chat_id, owner_id="local", content=HELLO)
                await anyio.lowlevel.checkpoint()

        sending = asyncio.create_task(send())
        await committed.wait()
        if native:
            sending.cancel()
        else:
            scope.cancel()
        go.set()
        await asyncio.wait([sending])
        await chatd.api.wait_for_status(str(chat_id), "waiting")
        assert provider.calls == 1
        transitions = [entry["transition"] for entry in await chatd.journal(str(chat_id))]
        assert "reap" not in transitions
        assert sending.cancelled() == native
        assert scope.cancelled_caught != native
