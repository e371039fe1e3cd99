"""The list of a caller's chats: filters, pages, and invalid parameters."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID, uuid4

import pytest
from support.in_process import InProcessDaemon, running_daemon
from support.providers import scripted
from support.requests import assert_problem, fetch_all_pages

from chatd.store.database import Database

HANG = scripted([{"text": "I begin"}, {"hang": True}])


async def titles(chatd: InProcessDaemon, **params: Any) -> str:
    """Return the titles of the listed chats, joined."""
    answer = await chatd.api.http.get("/api/v1/chats", params=params)
    assert answer.status_code == 200, answer.text
    return "".join(chat["title"] for chat in answer.json()["items"])


async def create_chats(
    chatd: InProcessDaemon, titles: Sequence[str], **more: Any
) -> dict[str, str]:
    return {title: (await chatd.api.create(title=title, **more))["id"] for title in titles}


async def test_status_filter_takes_several_values(dsn: str, database: Database) -> None:
    async with running_daemon(dsn, worker={"enabled": False}) as chatd:
        await create_chats(chatd, "ab")
        await create_chats(chatd, "c", content="hello")
        ids = await create_chats(chatd, "d", content="hello")
        await database.fetch(
            "UPDATE chats SET status = 'error', pending_since = NULL, last_error = 'no' WHERE id = $1",
            UUID(ids["d"]),
        )
        assert await titles(chatd) == "dcba"
        assert await titles(chatd, status="pending") == "c"
        assert await titles(chatd, status=["pending", "waiting"]) == "cba"
        assert await titles(chatd, status=["error", "pending", "pending"]) == "dc"
        assert await titles(chatd, status=["running", "interrupting", "requires_action"]) == ""


async def test_label_filters_must_all_match(chatd: InProcessDaemon) -> None:
    await chatd.api.create(title="a", labels={"team": "red", "env": "prod"})
    await chatd.api.create(title="b", labels={"team": "blue", "env": "prod"})
    await chatd.api.create(title="c", labels={"team": "red:1", "red": "team"})
    await chatd.api.create(title="d")
    await chatd.api.create(title="e", labels={"empty": "", 'q"uote\\': "{}"})
    for label, expected in {
        "team:red": "a",
        "team:red:1": "c",
        "team": "cba",
        "red": "c",
        "prod": "",
        "env:prod": "ba",
        "env:pro": "",
        "empty": "e",
        "empty:": "e",
        "team:": "",
        'q"uote\\:{}': "e",
    }.items():
        assert await titles(chatd, label=label) == expected, label
    assert await titles(chatd, label=["env:prod", "team:red"]) == "a"
    assert await titles(chatd, label=["team", "env"]) == "ba"
    assert await titles(chatd, label=["team:red", "team:blue"]) == ""
    assert await titles(chatd, label=["team:red", "team"]) == "a"


async def test_title_filter_ignores_case(chatd: InProcessDaemon) -> None:
    await create_chats(chatd, ["[Apple Pie]", "[100% apple_juice]", "[1000 pears\\]"])
    for words, expected in {
        "apple": "[100% apple_juice][Apple Pie]",
        "APPLE p": "[Apple Pie]",
        "100%": "[100% apple_juice]",
        "100": "[1000 pears\\][100% apple_juice]",
        "e_j": "[100% apple_juice]",
        "e p": "[Apple Pie]",
        "s\\": "[1000 pears\\]",
        "plum": "",
        "%": "[100% apple_juice]",
    }.items():
        assert await titles(chatd, q=words) == expected, words
    assert len(await titles(chatd, q="")) == len(await titles(chatd))
    await chatd.api.create(title="nul \x00")
    assert await titles(chatd, q="\x00") == "nul \N{REPLACEMENT CHARACTER}"


async def check_family(chatd: InProcessDaemon, database: Database, ids: Mapping[str, str]) -> None:
    """Check that the usage of all chats is shown at the root, which is read by its id, and only there."""
    await database.fetch("UPDATE chats SET input_tokens = 5, reasoning_tokens = 1")
    root = await chatd.api.chat(ids["a"])
    used = {**root["usage"], "input_tokens": 20, "reasoning_tokens": 4}
    assert (root["usage"]["input_tokens"], root["family"]) == (5, {"chats": 4, "usage": used})
    assert (await chatd.api.chat(ids["b"]))["family"] is None
    listed = (await chatd.api.http.get("/api/v1/chats")).json()["items"]
    assert [chat["family"] for chat in listed] == [None] * 4
    alone = (await create_chats(chatd, "e"))["e"]
    assert (await chatd.api.chat(alone))["family"] is None
    await chatd.api.http.delete(f"/api/v1/chats/{alone}")


async def test_parent_filter(dsn: str, database: Database) -> None:
    async with running_daemon(dsn) as chatd:
        ids = await create_chats(chatd, "abcd")
        for child, parent in (("b", "a"), ("c", "a"), ("d", "b")):
            await database.fetch(
                "UPDATE chats SET parent_chat_id = $2, root_chat_id = $3 WHERE id = $1",
                *(UUID(ids[name]) for name in (child, parent, "a")),
            )
        await chatd.api.http.patch(f"/api/v1/chats/{ids['b']}", json={"labels": {"x": "y"}})
        await check_family(chatd, database, ids)
        assert await titles(chatd, parent="none") == "a"
        assert await titles(chatd, parent=ids["a"]) == "bc"
        assert await titles(chatd, parent=ids["b"]) == "d"
        assert await titles(chatd, parent=ids["d"]) == ""
        assert await titles(chatd, parent=str(uuid4())) == ""
        assert await titles(chatd, parent=ids["a"], label="x:y") == "b"
        assert await titles(chatd, parent=ids["a"], q="C") == "c"
        assert await titles(chatd, parent=ids["a"], status="waiting", archived=False) == "bc"
        assert await titles(chatd, parent=ids["a"], status="error") == ""
        assert await titles(chatd, parent="none", q="b") == ""
        await database.fetch("UPDATE chats SET owner_id = 'another'")
        for parent in ("none", *ids.values()):
            assert await titles(chatd, parent=parent) == ""


@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"archived": False},
        {"label": "even"},
        {"label": ["even", "third:1"]},
        {"q": "number 1"},
        {"q": "NUMBER", "label": "third:0", "status": "waiting", "parent": "none"},
    ],
    ids=str,
)
async def test_filtered_pages_have_each_chat_once(
    dsn: str, database: Database, filters: dict[str, Any]
) -> None:
    async with running_daemon(dsn) as chatd:
        for n in range(24):
            labels = {"third": str(n % 3)} | ({"even": ""} if n % 2 == 0 else {})
            await chatd.api.create(title=f"number {n}", labels=labels)
        # several chats have the same time of update
        await database.fetch("UPDATE chats SET updated_at = date_trunc('second', updated_at)")
        (everything,) = [await fetch_all_pages(chatd, "/api/v1/chats", limit=200, **filters)]
        assert everything
        for limit in (1, 5):
            expected = await fetch_all_pages(chatd, "/api/v1/chats", limit=limit, **filters)
            assert expected == everything
        moments = [(chat["updated_at"], chat["id"]) for chat in everything]
        assert moments == sorted(moments, reverse=True)


async def test_invalid_filter_is_named(chatd: InProcessDaemon) -> None:
    for name, value in [
        ("status", "idle"),
        ("status", ["waiting", ""]),
        ("archived", "perhaps"),
        ("label", ""),
        ("label", ":red"),
        ("label", ["fine", ":"]),
        ("label", "n" * 1202),
        ("label", [f"n{n}" for n in range(65)]),
        ("parent", "nobody"),
        ("parent", ""),
        ("q", "q" * 501),
    ]:
        answer = await chatd.api.http.get("/api/v1/chats", params={name: value})
        assert_problem(answer, 422, "invalid_request", f"query.{name}")
