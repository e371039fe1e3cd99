"""Archived chats are in no list unless its reader asks for them."""

from typing import Any

import pytest
from support.commands import run_command
from support.in_process import InProcessDaemon
from support.requests import assert_problem
from support.streams import stream_events

from chatd.client import ChatChanged, ChatListSnapshot, Client

FILTERS: list[tuple[dict[str, Any], set[str]]] = [
    ({}, {"current"}),
    ({"archived": False}, {"current"}),
    ({"archived": True}, {"old"}),
    ({"archived": "any"}, {"current", "old"}),
]


async def archive_one_of_two(chatd: InProcessDaemon) -> str:
    """Create two chats and archive the one with the title ``old``. Return its id."""
    await chatd.api.create(title="current")
    chat_id: str = (await chatd.api.create(title="old"))["id"]
    answer = await chatd.api.http.patch(f"/api/v1/chats/{chat_id}", json={"archived": True})
    assert answer.status_code == 200, answer.text
    return chat_id


def client_of(chatd: InProcessDaemon) -> Client:
    token = chatd.api.http.headers["authorization"].removeprefix("Bearer ")
    return Client(f"http://127.0.0.1:{chatd.daemon.port}", token=token)


@pytest.mark.parametrize(("filters", "titles"), FILTERS)
async def test_list_holds_archived_chats_only_on_request(
    chatd: InProcessDaemon, filters: dict[str, Any], titles: set[str]
) -> None:
    await archive_one_of_two(chatd)
    for more in ({}, {"q": "r"}, {"parent": "none"}, {"status": "waiting"}):
        answer = await chatd.api.http.get("/api/v1/chats", params={**filters, **more})
        found = {chat["title"] for chat in answer.json()["items"]}
        assert found == (titles - {"old"} if "q" in more else titles), more
    async with client_of(chatd) as client:
        assert {chat["title"] async for chat in client.chats.list(**filters)} == titles


@pytest.mark.parametrize(("filters", "titles"), FILTERS)
async def test_list_stream_begins_with_archived_chats_only_on_request(
    chatd: InProcessDaemon, filters: dict[str, Any], titles: set[str]
) -> None:
    await archive_one_of_two(chatd)
    query = "&".join(f"{name}={str(value).lower()}" for name, value in filters.items())
    for after in (None, "a place that never was"):
        async for event in stream_events(chatd, f"/api/v1/chats/stream?{query}", after):
            if event and event.event == "snapshot":
                assert {chat["title"] for chat in event.data["items"]} == titles
                break
    async with client_of(chatd) as client, client.follow_all(**filters) as events:
        async for event in events:
            assert isinstance(event, ChatListSnapshot)
            assert {chat["title"] for chat in event.data["items"]} == titles
            break


async def test_list_stream_tells_that_a_chat_was_archived(chatd: InProcessDaemon) -> None:
    """A subscriber takes it from its list, also one that was away meanwhile."""
    async with client_of(chatd) as client:
        chat_id = (await client.chats.create(title="old"))["id"]
        async with client.follow_all() as events:
            async for event in events:
                if isinstance(event, ChatListSnapshot):
                    cursor = event.id
                    await client.chats.update(chat_id, archived=True)
                elif isinstance(event, ChatChanged) and event.data["archived"]:
                    break
        async with client.follow_all(cursor) as events:
            async for event in events:
                if isinstance(event, ChatChanged) and event.data["archived"]:
                    assert event.data["id"] == chat_id
                    break


async def test_unknown_value_of_archived_is_refused(chatd: InProcessDaemon) -> None:
    for path in ("/api/v1/chats", "/api/v1/chats/stream"):
        answer = await chatd.api.http.get(path, params={"archived": "perhaps"})
        assert_problem(answer, 422, "invalid_request", "query.archived")


async def test_commands_list_archived_chats_only_on_request(chatd: InProcessDaemon) -> None:
    chat_id = await archive_one_of_two(chatd)
    url = f"http://127.0.0.1:{chatd.daemon.port}"
    token = chatd.api.http.headers["authorization"].removeprefix("Bearer ")
    for options, titles in (
        ([], {"current"}),
        (["--archived"], {"old"}),
        (["--all"], {"current", "old"}),
    ):
        result = await run_command(url, "ps", "--once", *options, CHATD_TOKEN=token)
        assert result.exit_code == 0, result.stderr
        assert {line.split()[-1] for line in result.stdout.splitlines()[1:]} == titles
    # An archived chat is found by the beginning of its id all the same.
    shown = await run_command(url, "show", chat_id[:8], CHATD_TOKEN=token)
    assert "(archived)" in shown.stdout, shown.stderr
