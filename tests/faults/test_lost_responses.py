"""Statements that PostgreSQL commits, and whose responses never arrive."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest
from support.eventually import eventually
from support.in_process import running_daemon
from support.network_faults import all_idle, equals, transition_counts
from support.postgres_proxy import PostgresProxy, ProxiedConnection
from support.providers import FunctionProvider, finished, text_delta
from support.sse_client import ChatView

from chatd.llm.provider import Delta, ModelRequest


@pytest.mark.parametrize("queued", [False, True], ids=["alone", "queued"])
async def test_lost_finish_response_is_not_repeated(
    proxy: PostgresProxy, inspector: asyncpg.Connection, queued: bool
) -> None:
    """The server commits the last step. Its response never arrives, and the connection breaks."""
    secret = "a word that only the answer contains"
    go = asyncio.Event()

    async def act(_: ModelRequest) -> AsyncIterator[Delta]:
        await go.wait()
        yield text_delta(secret)
        yield finished()

    provider = FunctionProvider(act)
    muted_connections: list[ProxiedConnection] = []
    sent = 0

    def drop_response(connection: ProxiedConnection, data: bytes) -> None:
        nonlocal sent
        if secret.encode() not in data or muted_connections:
            return
        sent += 1
        if sent == 1 + queued:  # with a queue, the statement for turns without one comes first
            muted_connections.append(connection)
            connection.drops_responses = True

    # Live parts are not flushed, so the answer passes the proxy only when the turn is stored.
    stream = {"flush_interval_seconds": 600.0, "flush_bytes": 10**6}
    async with running_daemon(proxy.dsn, provider, stream=stream) as chatd:
        chat_id = (await chatd.api.create("hello"))["id"]
        view = ChatView()
        turns = 2 if queued else 1
        following = asyncio.create_task(
            chatd.api.follow(
                chat_id, view, lambda view: len(view.messages) == 2 * turns and is_idle(view)
            )
        )
        await eventually(lambda: provider.requests and view.status)
        if queued:
            await chatd.api.send(chat_id, "and then")
        proxy.on_sent = drop_response
        go.set()
        ended = "SELECT count(*) FROM chat_events WHERE transition = 'finish_turn' AND chat_id = $1"
        await eventually(lambda: equals(inspector.fetchval(ended, UUID(chat_id)), 1))
        assert len(provider.requests) == 1
        muted_connections[0].cut()
        await chatd.api.wait_for_status(chat_id, "waiting")
        await following
        assert await chatd.api.texts(chat_id) == [secret] * turns
        assert list(view.messages.values())[1::2] == [secret] * turns
        assert len(provider.requests) == turns
        assert await transition_counts(inspector) == {
            "create": 1,
            "claim": 1,
            "finish_turn": turns,
        } | ({"send": 1} if queued else {})
        assert not chatd.logged("chat.lost")


def is_idle(view: ChatView) -> bool:
    return view.status == "waiting"


async def test_lost_create_response_is_reported_as_unknown(
    proxy: PostgresProxy, inspector: asyncpg.Connection
) -> None:
    """The caller gets 503, and the chat that was stored is answered all the same."""
    muted_connections: list[ProxiedConnection] = []

    def drop_response(connection: ProxiedConnection, data: bytes) -> None:
        if b"marked" in data and not muted_connections:
            muted_connections.append(connection)
            connection.drops_responses = True

    async with running_daemon(proxy.dsn) as chatd:
        await chatd.wait_until_no_chat_waits()
        proxy.on_sent = drop_response
        creating = asyncio.create_task(
            chatd.api.http.post("/api/v1/chats", json={"content": "marked"})
        )
        await eventually(lambda: equals(inspector.fetchval("SELECT count(*) FROM chats"), 1))
        await eventually(lambda: muted_connections)
        muted_connections[0].cut()
        answer = await creating
        assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
        await eventually(lambda: all_idle(inspector))
        assert await transition_counts(inspector) == {
            "create": 1,
            "claim": 2,
            "reap": 1,  # of the claim that came with it
            "finish_turn": 1,
        }
