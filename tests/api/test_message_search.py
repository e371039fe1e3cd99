"""``GET /chats?in=messages``: its pages, its bounds, and what it refuses in words."""

import json
from typing import Any

import pytest
from support.commands import run_command
from support.eventually import eventually
from support.in_process import InProcessDaemon, running_daemon
from support.requests import assert_problem

from chatd.cli.exit_codes import Exit
from chatd.worker import search_indexer

CHATS = "/api/v1/chats"


async def search(chatd: InProcessDaemon, q: str, **more: Any) -> dict[str, Any]:
    params = {"q": q, "in": "messages", **more}
    answer = await chatd.api.http.get(CHATS, params=params)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


@pytest.mark.parametrize(
    ("params", "where"),
    [
        ({}, "query.q"),
        ({"q": ""}, "query.q"),
        ({"q": " \t"}, "query.q"),
        ({"q": "a " * 33}, "query.q"),
        ({"q": "a" * 501}, "query.q"),
        ({"q": "a", "in": "files"}, "query.in"),
        ({"q": "a", "cursor": "x"}, "cursor"),
    ],
)
async def test_what_cannot_be_searched_is_refused(
    chatd: InProcessDaemon, params: dict[str, str], where: str
) -> None:
    answer = await chatd.api.http.get(CHATS, params={"in": "messages", **params})
    assert answer.status_code == 422
    assert where in answer.text


@pytest.mark.parametrize(
    "q",
    [
        "\0",
        "a\0b",
        "\ud800".encode("utf-8", "surrogatepass"),
        "' \" \\ -- ; %",
        "a " * 32,
        "((((",
        "-a",
    ],
)
async def test_hostile_words_find_nothing(chatd: InProcessDaemon, q: str | bytes) -> None:
    answer = await chatd.api.http.get(CHATS, params={"in": "messages", "q": q})
    assert answer.status_code in {200, 422}, answer.text
    if answer.status_code == 200:
        assert answer.json() == {"items": [], "next_cursor": None, "matches": {}}


async def test_list_without_a_search_has_no_matches(chatd: InProcessDaemon) -> None:
    chat = await chatd.api.create()
    page = (await chatd.api.http.get(CHATS)).json()
    assert [item["id"] for item in page["items"]] == [chat["id"]]
    assert page["matches"] == {}


async def test_server_that_indexes_no_messages_says_so(dsn: str) -> None:
    async with running_daemon(dsn, database={"index_messages": False}) as chatd:
        answer = await chatd.api.http.get(CHATS, params={"in": "messages", "q": "a"})
        assert_problem(answer, 422, "invalid_request", "database.index_messages")


async def test_pages_have_their_matches_and_follow_each_other(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_indexer, "_INTERVAL_SECONDS", 0.05)
    async with running_daemon(dsn, worker={"enabled": False}) as chatd:
        chats = [await chatd.api.create(f"needle number {n}", title="needle") for n in range(3)]
        await chatd.api.create("thread", title="needle")

        async def all_found() -> bool:
            return len((await search(chatd, "needle"))["items"]) == 3

        await eventually(all_found)
        first = await search(chatd, "needle", limit=2)
        rest = await search(chatd, "needle", limit=2, cursor=first["next_cursor"])
        assert rest["next_cursor"] is None
        found = [*first["items"], *rest["items"]]
        assert [chat["id"] for chat in found] == [chat["id"] for chat in reversed(chats)]
        assert set(first["matches"]) == {chat["id"] for chat in first["items"]}
        match = first["matches"][found[0]["id"]]
        assert match["excerpt"] == [
            {"text": "needle", "matches": True},
            {"text": " number 2", "matches": False},
        ]
        messages = await chatd.api.messages(found[0]["id"])
        assert (match["message_id"], match["role"]) == (messages[0]["id"], "user")
        assert match["created_at"] == messages[0]["created_at"]
        assert (await search(chatd, "needle", label="none"))["items"] == []

        url = str(chatd.api.http.base_url)
        shown = await run_command(url, "search", "--all", "needle", "-1", "-0")
        head, row = shown.stdout.splitlines()
        assert head.split() == ["CHAT", "UPDATED", "TITLE", "FOUND"]
        assert chats[2]["id"][:8] in row
        assert row.endswith("needle number 2")
        printed = await run_command(url, "search", "--limit", "1", "--json", "needle")
        assert [each["chat"]["id"] for each in json.loads(printed.stdout)] == [chats[2]["id"]]
        nothing = await run_command(url, "search")
        assert (nothing.exit_code, nothing.stdout) == (Exit.FAILED, "")
        assert "1 to 32 words" in nothing.stderr
