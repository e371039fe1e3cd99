"""A process of this version on the schema and the rows of a newer one, during a rolling upgrade."""

import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import anyio
import asyncpg
import httpx2
import pytest
from support.eventually import TIMEOUT_SECONDS, eventually
from support.http import NO_TLS
from support.in_process import InProcessDaemon, running_daemon
from support.newer_version import NewerVersion
from support.sse_client import ChatView

QUICK = {"reap_interval_seconds": 0.05, "poll_seconds": 0.1}


@asynccontextmanager
async def newer_version(dsn: str) -> AsyncIterator[NewerVersion]:
    connection = await asyncpg.connect(dsn)
    try:
        yield NewerVersion(connection)
    finally:
        await connection.close()


@asynccontextmanager
async def undocumented_client(chatd: InProcessDaemon) -> AsyncIterator[httpx2.AsyncClient]:
    """Yield a client that does not hold responses to the document, which lists known words only."""
    url = str(chatd.api.http.base_url)
    async with httpx2.AsyncClient(base_url=url, verify=NO_TLS, timeout=TIMEOUT_SECONDS) as http:
        yield http


async def events(http: httpx2.AsyncClient, path: str) -> AsyncIterator[tuple[str, Any, str | None]]:
    async with http.stream("GET", path) as answer:
        assert answer.status_code == 200, await answer.aread()
        fields: dict[str, str] = {}
        async for line in answer.aiter_lines():
            name, _, value = line.partition(": ")
            if name:
                fields[name] = value
            elif "event" in fields:
                yield fields["event"], json.loads(fields["data"]), fields.get("id")
                fields = {}


async def next_with(stream: Any, name: str, **data: Any) -> tuple[Any, str | None]:
    """Return the data and the id of the next event of this name with these data."""
    with anyio.fail_after(TIMEOUT_SECONDS):
        async for event, received, cursor in stream:
            if event == name and data.items() <= received.items():
                return received, cursor
    raise AssertionError(f"the stream ended before {name}")


@pytest.fixture
async def newer(dsn: str) -> AsyncIterator[NewerVersion]:
    async with newer_version(dsn) as version:
        yield version


async def test_streams_lists_and_requests_show_the_words_of_a_newer_version(
    dsn: str, newer: NewerVersion
) -> None:
    async with (
        running_daemon(dsn, worker=QUICK) as chatd,
        undocumented_client(chatd) as http,
    ):
        chat_id = (await chatd.api.create())["id"]
        path = f"/api/v1/chats/{chat_id}"
        async with (
            aclosing(events(http, f"{path}/stream")) as chat_stream,
            aclosing(events(http, "/api/v1/chats/stream")) as list_stream,
        ):
            _, start = await next_with(chat_stream, "snapshot")
            await next_with(list_stream, "snapshot")
            await newer.migrate()
            await newer.notify_in_a_new_form(chat_id)
            await newer.pause(chat_id)
            message, cursor = await next_with(chat_stream, "message")
            assert (message["role"], message["finish_reason"]) == ("critic", "criticized")
            assert cursor is None, "the newer version may count its events otherwise"
            _, paused = await next_with(chat_stream, "status", status="paused")
            await next_with(list_stream, "chat", id=chat_id, status="paused")

            for listed in (
                await http.get("/api/v1/chats"),
                await http.get("/api/v1/chats?limit=1"),
            ):
                assert [chat["status"] for chat in listed.json()["items"]] == ["paused"]
            assert (await http.get(path)).json()["status"] == "paused"
            [shown] = (await http.get(f"{path}/messages")).json()["items"]
            assert [part["type"] for part in shown["content"]] == ["text", "diagram"]
            entry = (await http.get(f"{path}/events")).json()["items"][-1]
            assert (entry["transition"], entry["status"]) == ("pause", "paused")
            [reason] = (await http.get(f"{path}/explain")).json()["reasons"]
            assert reason["code"] == "status_unknown"
            refused = await http.post(f"{path}/interrupt")
            assert (refused.status_code, refused.json()["code"]) == (503, "status_unknown")
            assert refused.headers["retry-after"] == "1"
            assert (await http.get("/api/v1/chats?status=paused")).status_code == 422

            async with aclosing(events(http, f"{path}/stream")) as late:
                snapshot, _ = await next_with(late, "snapshot")
                assert snapshot["chat"]["status"] == "paused"
            await newer.pause(chat_id)
            for after, expected in (
                (start, ["message", "status"] * 2),
                (paused, ["message", "status"]),
            ):
                async with aclosing(events(http, f"{path}/stream?after={after}")) as resumed:
                    names = [name for name, _, _ in await first(resumed, expected)]
                    assert names == expected
            await newer.resume(chat_id)
            await next_with(chat_stream, "status", status="pending")
        await check_unharmed(chatd)


async def first(stream: Any, expected: list[str]) -> list[Any]:
    with anyio.fail_after(TIMEOUT_SECONDS):
        return [await anext(stream) for _ in expected]


async def check_unharmed(chatd: InProcessDaemon) -> None:
    """Check that no actor failed, and that another chat is answered."""
    assert not chatd.logged("supervisor.child_failed")
    assert not chatd.logged("http.unexpected")
    assert (await chatd.api.http.get("/readyz")).status_code == 200
    assert (await chatd.api.http.get("/metrics")).status_code == 200
    neighbour = (await chatd.api.create("hello"))["id"]
    view = ChatView()
    await chatd.api.follow(neighbour, view, lambda view: len(view.messages) == 2)
    assert list(view.messages.values()) == ["hello", "You said: hello"]


async def test_chat_in_an_unknown_status_is_neither_claimed_nor_reaped(
    dsn: str, newer: NewerVersion
) -> None:
    async with running_daemon(dsn, worker=QUICK) as chatd, undocumented_client(chatd) as http:
        chat_id = (await chatd.api.create())["id"]
        await newer.migrate()
        await newer.pause(chat_id)
        sent = await http.post(f"/api/v1/chats/{chat_id}/messages", json={"content": "later"})
        assert (sent.status_code, sent.json()["queued"]) == (202, True), "the newer one answers it"
        looks = await looks_of_reapers(newer)
        await eventually(lambda: looked_since(newer, looks))
        await check_unharmed(chatd)
        rows = await newer.connection.fetch(
            "SELECT transition FROM chat_events WHERE chat_id = $1 ORDER BY version", chat_id
        )
        assert [row["transition"] for row in rows] == ["create", "pause", "send"]


async def looks_of_reapers(newer: NewerVersion) -> Any:
    """Return when a reaper has looked last, as PostgreSQL remembers it."""
    return await newer.connection.fetchval(
        "SELECT max(query_start) FROM pg_stat_activity"
        " WHERE query LIKE '-- reaps.look%' AND datname = current_database()"
    )


async def looked_since(newer: NewerVersion, looks: Any) -> bool:
    latest = await looks_of_reapers(newer)
    return latest is not None and (looks is None or latest > looks)


async def test_turn_fails_with_a_reason_when_its_history_has_unknown_content(
    dsn: str, newer: NewerVersion
) -> None:
    async with running_daemon(dsn, worker=QUICK) as chatd, undocumented_client(chatd) as http:
        chat_id = (await chatd.api.create())["id"]
        path = f"/api/v1/chats/{chat_id}"
        await newer.migrate()
        await newer.pause(chat_id)
        await newer.resume(chat_id)

        async def failed() -> Any:
            chat = (await http.get(path)).json()
            return chat if chat["status"] == "error" else None

        chat = await eventually(failed)
        assert chat["last_error"] == (
            "the chat has content that only a newer version of chatd knows: critic"
        )
        assert chat["last_error_detail"]["kind"] == "configuration"
        assert not chatd.logged("chat.panicked")
        await check_unharmed(chatd)
