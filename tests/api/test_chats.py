"""Routes of chats: create, list, read, change, interrupt, and the journal."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

from support.eventually import eventually
from support.in_process import InProcessDaemon, running_daemon, running_daemons
from support.providers import FunctionProvider, scripted, text_delta
from support.requests import assert_problem, fetch_all_pages

from chatd.llm.provider import ModelRequest

HANG = scripted([{"text": "I begin"}, {"hang": True}])

CHAT = {
    "stored_bytes",
    "id",
    "owner_id",
    "parent_chat_id",
    "root_chat_id",
    "title",
    "status",
    "last_error",
    "last_error_detail",
    "action_deadline",
    "actions",
    "family",
    "archived",
    "labels",
    "server_tools",
    "permission_mode",
    "tool_rules",
    "remembered_tools",
    "model",
    "last_model_config_id",
    "version",
    "queue_length",
    "usage",
    "created_at",
    "updated_at",
    "expires_at",
}


async def change(chatd: InProcessDaemon, chat_id: str, **fields: Any) -> dict[str, Any]:
    answer = await chatd.api.http.patch(f"/api/v1/chats/{chat_id}", json=fields)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def listed(chatd: InProcessDaemon, **params: Any) -> list[str]:
    answer = await chatd.api.http.get("/api/v1/chats", params=params)
    assert answer.status_code == 200, answer.text
    return [chat["id"] for chat in answer.json()["items"]]


async def test_chat_without_message_is_waiting(dsn: str) -> None:
    async with running_daemon(dsn) as chatd:
        chat = await chatd.api.create(title="a title", labels={"team": "red"}, model="two")
        assert chat.keys() == CHAT
        assert UUID(chat["id"])
        assert chat["id"] == chat["root_chat_id"]
        assert (chat["title"], chat["labels"], chat["model"]) == ("a title", {"team": "red"}, "two")
        assert (chat["status"], chat["version"], chat["queue_length"]) == ("waiting", 1, 0)
        assert (chat["owner_id"], chat["archived"]) == ("local", False)
        for nothing in ("last_error", "last_error_detail", "parent_chat_id"):
            assert chat[nothing] is None
        assert set(chat["usage"].values()) == {0}
        assert await chatd.api.chat(chat["id"]) == chat
        assert await chatd.api.messages(chat["id"]) == []


async def test_chat_with_message_is_answered(chatd: InProcessDaemon) -> None:
    chat = await chatd.api.create("hello", system_prompt="Be brief.")
    assert (chat["status"], chat["model"]) == ("pending", "one")
    rested = await chatd.api.wait_for_status(chat["id"], "waiting")
    assert rested.keys() == CHAT
    messages = await chatd.api.messages(chat["id"])
    assert [m["role"] for m in messages] == ["system", "user", "assistant"]
    assert await chatd.api.texts(chat["id"], "system") == ["Be brief."]
    assert await chatd.api.texts(chat["id"]) == ["You said: hello"]


async def test_usage_is_the_sum_over_messages(dsn: str) -> None:
    provider = scripted([{"text": "a"}, {"finish": {"input_tokens": 7, "output_tokens": 11}}])
    async with running_daemon(dsn, provider) as chatd:
        chat = await chatd.api.create("one")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        await chatd.api.send(chat["id"], "two")
        rested = await chatd.api.wait_for_status(chat["id"], "waiting")
        spent = [m["usage"] for m in await chatd.api.messages(chat["id"]) if m["usage"]]
        assert [(u["input_tokens"], u["output_tokens"]) for u in spent] == [(7, 11)] * 2
        assert rested["usage"] == {key: sum(u[key] for u in spent) for key in spent[0]}


async def test_models_mark_the_default(chatd: InProcessDaemon) -> None:
    answer = await chatd.api.http.get("/api/v1/models")
    assert answer.status_code == 200
    models = {model["name"]: model for model in answer.json()["items"]}
    assert answer.json()["next_cursor"] is None
    assert {name: model["default"] for name, model in models.items()} == {
        "one": True,
        "two": False,
    }
    chat = await chatd.api.create()
    assert chat["last_model_config_id"] == models["one"]["id"]


async def test_chats_are_listed_by_last_update(chatd: InProcessDaemon) -> None:
    a, b, c = [(await chatd.api.create(title=t))["id"] for t in "abc"]
    assert await listed(chatd) == [c, b, a]
    await change(chatd, a, title="touched")
    assert await listed(chatd) == [a, c, b]
    await chatd.api.send(b, "hello")
    await chatd.api.wait_for_status(b, "waiting")
    assert await listed(chatd) == [b, a, c]
    await change(chatd, c)  # an empty update is no update
    await chatd.api.interrupt(c)
    assert await listed(chatd) == [b, a, c]


async def test_pages_have_each_chat_once(chatd: InProcessDaemon) -> None:
    made = [(await chatd.api.create())["id"] for _ in range(7)]
    for limit in (1, 3, 7, 8):
        chats = await fetch_all_pages(chatd, "/api/v1/chats", limit=limit)
        assert [chat["id"] for chat in chats] == made[::-1], limit


async def test_chats_updated_at_the_same_time_are_all_paged(dsn: str) -> None:
    async with running_daemon(dsn) as chatd:
        made = {(await chatd.api.create())["id"] for _ in range(5)}
        await chatd.daemon.services.database.fetch("UPDATE chats SET updated_at = '2026-01-01'")
        chats = await fetch_all_pages(chatd, "/api/v1/chats", limit=2)
        assert len(chats) == len(made)
        assert {chat["id"] for chat in chats} == made


async def test_status_and_archived_filters(dsn: str) -> None:
    provider = scripted(fail=[{"error": {"status": 401}}])
    async with running_daemon(dsn, provider) as chatd:
        waiting, archived = [(await chatd.api.create())["id"] for _ in range(2)]
        await change(chatd, archived, archived=True)
        failed = (await chatd.api.create("[[fail]]"))["id"]
        await chatd.api.wait_for_status(failed, "error")
        assert await listed(chatd, archived=True) == [archived]
        assert await listed(chatd, archived=False) == [failed, waiting]
        assert await listed(chatd, status="error") == [failed]
        assert await listed(chatd, status="waiting", archived="any") == [archived, waiting]
        assert await listed(chatd, status="waiting", archived=False) == [waiting]
        assert await listed(chatd, status="running") == []
        chats = await fetch_all_pages(
            chatd, "/api/v1/chats", limit=1, status="waiting", archived=False
        )
        assert [chat["id"] for chat in chats] == [waiting]


async def test_update_changes_only_the_fields_it_names(chatd: InProcessDaemon) -> None:
    chat_id = (await chatd.api.create(title="old", labels={"a": "1"}))["id"]
    titled = await change(chatd, chat_id, title="new")
    assert (titled["title"], titled["labels"]) == ("new", {"a": "1"})
    labelled = await change(chatd, chat_id, labels={"b": "2"})
    assert (labelled["title"], labelled["labels"]) == ("new", {"b": "2"})
    both = await change(chatd, chat_id, title="", labels={})
    assert (both["title"], both["labels"]) == ("", {})
    assert both["version"] == labelled["version"] + 1
    for nothing in ({}, {"title": None, "labels": None, "archived": None}):
        assert await change(chatd, chat_id, **nothing) == both
    everything = await change(chatd, chat_id, title="t", labels={"c": "3"}, archived=True)
    assert everything["archived"] is True
    assert (everything["title"], everything["labels"]) == ("t", {"c": "3"})
    assert await chatd.api.chat(chat_id) == everything


async def test_archived_chat_refuses_messages_until_unarchived(chatd: InProcessDaemon) -> None:
    chat_id = (await chatd.api.create())["id"]
    archived = await change(chatd, chat_id, archived=True)
    assert archived["archived"] is True
    assert await change(chatd, chat_id, archived=True) == archived  # again: nothing
    answer = await chatd.api.http.post(
        f"/api/v1/chats/{chat_id}/messages", json={"content": "hello"}
    )
    assert_problem(answer, 409, "chat_archived")
    assert (await chatd.api.interrupt(chat_id))["archived"] is True
    assert (await change(chatd, chat_id, title="a title"))["title"] == "a title"
    assert (await change(chatd, chat_id, archived=False))["archived"] is False
    await chatd.api.send(chat_id, "hello")
    await chatd.api.wait_for_status(chat_id, "waiting")
    assert await chatd.api.texts(chat_id) == ["You said: hello"]


async def test_archiving_a_busy_chat_changes_nothing(dsn: str) -> None:
    async with running_daemon(dsn, HANG) as chatd:
        chat_id = (await chatd.api.create("hello", title="old"))["id"]
        busy = await chatd.api.wait_for_status(chat_id, "running")
        answer = await chatd.api.http.patch(
            f"/api/v1/chats/{chat_id}", json={"archived": True, "title": "new"}
        )
        assert_problem(answer, 409, "chat_tree_busy")
        assert await chatd.api.chat(chat_id) == busy
        described = await change(chatd, chat_id, title="new")  # alone, it may
        assert (described["title"], described["status"]) == ("new", "running")


async def test_interrupt_is_idempotent(dsn: str) -> None:
    async with running_daemon(dsn, HANG) as chatd:
        chat_id = (await chatd.api.create("hello"))["id"]
        await chatd.api.wait_for_status(chat_id, "running")
        answers = await asyncio.gather(*(chatd.api.interrupt(chat_id) for _ in range(4)))
        assert {answer["status"] for answer in answers} <= {"interrupting", "waiting"}
        rested = await chatd.api.wait_for_status(chat_id, "waiting")
        assert await chatd.api.interrupt(chat_id) == rested
        assert len(await chatd.journal(chat_id, "interrupt")) == 1
        new = await chatd.api.create()
        assert await chatd.api.interrupt(new["id"]) == new


async def test_interrupt_keeps_an_error(dsn: str) -> None:
    async with running_daemon(dsn, scripted([{"error": {"status": 401}}])) as chatd:
        chat_id = (await chatd.api.create("hello"))["id"]
        failed = await chatd.api.wait_for_status(chat_id, "error")
        assert await chatd.api.interrupt(chat_id) == failed


async def test_message_clears_the_error(dsn: str) -> None:
    provider = scripted(fail=[{"error": {"status": 401}}])
    async with running_daemon(dsn, provider) as chatd:
        chat_id = (await chatd.api.create("[[fail]]"))["id"]
        failed = await chatd.api.wait_for_status(chat_id, "error")
        assert failed.keys() == CHAT
        assert failed["last_error"]
        assert failed["last_error_detail"]["kind"] == "auth"
        sent = await chatd.api.send(chat_id, "hello")
        assert sent["chat"]["last_error"] is sent["chat"]["last_error_detail"] is None
        rested = await chatd.api.wait_for_status(chat_id, "waiting")
        assert rested["last_error"] is rested["last_error_detail"] is None


async def test_journal_pages_have_no_gap(chatd: InProcessDaemon) -> None:
    chat_id = (await chatd.api.create("hello"))["id"]
    rested = await chatd.api.wait_for_status(chat_id, "waiting")
    path = f"/api/v1/chats/{chat_id}/events"
    whole = (await chatd.api.http.get(path)).json()
    assert whole["next_cursor"] is None
    assert [e["version"] for e in whole["items"]] == list(range(1, rested["version"] + 1))
    assert [e["transition"] for e in whole["items"]] == ["create", "claim", "finish_turn"]
    assert whole["items"][-1]["status"] == "waiting"
    for limit in (1, 2, 3, 4):
        assert await fetch_all_pages(chatd, path, "after", limit=limit) == whole["items"]
    rest = await chatd.api.http.get(path, params={"after": 2})
    assert rest.json()["items"] == whole["items"][2:]
    nothing = await chatd.api.http.get(path, params={"after": 2**63 - 1})
    assert nothing.json() == {"items": [], "next_cursor": None}


async def test_replicas_return_the_same_chat(dsn: str) -> None:
    async with running_daemons(dsn, [scripted()] * 2) as (a, b):
        chat_id = (await a.api.create("hello", title="t", labels={"k": "v"}))["id"]
        rested = await a.api.wait_for_status(chat_id, "waiting")
        assert await b.api.chat(chat_id) == rested
        for path in (
            "/api/v1/chats",
            "/api/v1/models",
            f"/api/v1/chats/{chat_id}/messages",
            f"/api/v1/chats/{chat_id}/events",
            f"/api/v1/chats/{chat_id}/queue",
        ):
            answers = [await chatd.api.http.get(path) for chatd in (a, b)]
            assert answers[0].status_code == 200
            assert answers[0].json() == answers[1].json(), path
        await change(b, chat_id, title="changed")
        assert (await a.api.chat(chat_id))["title"] == "changed"


async def test_interrupt_through_another_replica_stops_the_turn(dsn: str) -> None:
    calls: list[str] = []

    async def act(request: ModelRequest) -> Any:
        calls.append(request.model)
        yield text_delta("I begin")
        await asyncio.Event().wait()

    async with running_daemons(dsn, [FunctionProvider(act)] * 2) as (a, b):
        chat_id = (await a.api.create("hello"))["id"]
        await eventually(lambda: calls)
        for chatd in (a, b):
            assert (await chatd.api.interrupt(chat_id))["status"] in {"interrupting", "waiting"}
        assert await b.api.wait_for_status(chat_id, "waiting") == await a.api.chat(chat_id)


async def test_chat_of_another_owner_is_404(dsn: str) -> None:
    async with running_daemon(dsn) as chatd:
        chat = await chatd.api.create()
        await chatd.daemon.services.database.fetch("UPDATE chats SET owner_id = 'somebody else'")
        answer = await chatd.api.http.get(f"/api/v1/chats/{chat['id']}")
        problem = assert_problem(answer, 404, "chat_not_found", chat["id"])
        assert await listed(chatd) == []
        nowhere = str(uuid4())
        other = await chatd.api.http.get(f"/api/v1/chats/{nowhere}")
        same = assert_problem(other, 404, "chat_not_found", nowhere)
        assert same["detail"].replace(nowhere, chat["id"]) == problem["detail"]
