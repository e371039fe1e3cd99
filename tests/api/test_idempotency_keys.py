"""The ``Idempotency-Key`` header of every POST and PATCH, and the replay of responses."""

import asyncio
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from support.client_tools import CLOCK
from support.in_process import InProcessDaemon, running_daemon
from support.providers import scripted
from support.requests import (
    assert_problem,
    document,
    find_operation,
    ids_of,
    operations,
    request_operation,
)
from support.sse_client import text_of

CREATE = ("post", "/api/v1/chats")


def test_every_post_and_patch_takes_a_key() -> None:
    for method, path, operation in operations():
        names = {p["name"].lower() for p in operation.get("parameters", [])}
        assert ("idempotency-key" in names) == (method in {"post", "patch"}), (method, path)
    assert document()["paths"]


async def keyed(chatd: InProcessDaemon, path: str, key: str, json: Any = None, **more: Any) -> Any:
    method = more.pop("method", "POST")
    headers = {"idempotency-key": key}
    return await chatd.api.http.request(method, path, json=json, headers=headers, **more)


async def test_twenty_concurrent_creates_with_one_key_make_one_chat(dsn: str) -> None:
    async with running_daemon(dsn, scripted([{"text": "hi"}])) as chatd:
        body = {"content": "hello", "labels": {"a": "b"}, "title": "t"}
        answers = await asyncio.gather(
            *(keyed(chatd, "/api/v1/chats", "k", body) for _ in range(20))
        )
        assert {answer.status_code for answer in answers} == {201}
        assert all(ids_of(answer) == ids_of(answers[0]) for answer in answers)
        chat_id = answers[0].json()["id"]
        await chatd.api.wait_for_status(chat_id, "waiting")
        assert await chatd.api.texts(chat_id) == ["hi"]
        assert await chatd.api.texts(chat_id, "user") == ["hello"]
        listed = (await chatd.api.http.get("/api/v1/chats")).json()["items"]
        assert [chat["id"] for chat in listed] == [chat_id]

        sent = await asyncio.gather(
            *(
                keyed(chatd, f"/api/v1/chats/{chat_id}/messages", "m", {"content": "more"})
                for _ in range(20)
            )
        )
        assert {answer.status_code for answer in sent} == {202}
        assert all(ids_of(answer) == ids_of(sent[0]) for answer in sent)
        assert ids_of(sent[0])[1].keys() == {"message", "chat"}
        await chatd.api.wait_for_status(chat_id, "waiting")
        assert await chatd.api.texts(chat_id, "user") == ["hello", "more"]

        late = await keyed(chatd, "/api/v1/chats", "k", body)
        assert (late.status_code, late.json()) == (201, await chatd.api.chat(chat_id))
        await chatd.api.http.delete(f"/api/v1/chats/{chat_id}")
        for path, key, said in (
            ("/api/v1/chats", "k", body),
            (f"/api/v1/chats/{chat_id}/messages", "m", {"content": "more"}),
        ):
            gone = await keyed(chatd, path, key, said)
            assert_problem(gone, 404, "chat_not_found")
            assert "hello" not in gone.text


async def test_every_post_and_patch_replays_its_response(dsn: str) -> None:
    """Repeat each operation that takes a key, one after the other on one chat."""
    repeated: set[str] = set()
    call = [{"tool_call": {"name": "clock", "id": "a"}, "calls": [1]}, {"text": "done"}]
    provider = scripted(hang=[{"hang": True}], bad=[{"panic": "x"}], call=call)
    async with running_daemon(dsn, provider) as chatd:

        async def twice(url: str, body: Any = None, **more: Any) -> dict[str, Any]:
            key = str(uuid4())
            first = await keyed(chatd, url, key, body, **more)
            again = await keyed(chatd, url, key, body, **more)
            assert first.status_code in {200, 201, 202}, first.text
            assert ids_of(first) == ids_of(again)
            assert ids_of(first)[1]
            repeated.add((find_operation(first.request) or {})["operationId"])
            return dict(first.json())

        chat = await twice("/api/v1/chats", {"content": "[[hang]]", "tools": [CLOCK]})
        path = f"/api/v1/chats/{chat['id']}"
        await chatd.api.wait_for_status(chat["id"], "running")
        await twice(path, {"title": "new"}, method="PATCH")
        queued = await twice(f"{path}/messages", {"content": "[[bad]]"})
        (waiting,) = (await chatd.api.http.get(f"{path}/queue")).json()["items"]
        assert queued["queued_message"]["id"] == waiting["id"]
        await twice(f"{path}/queue/{waiting['id']}/promote")
        failed = await chatd.api.wait_for_status(chat["id"], "error")
        assert failed["last_error"] == "chat processing panicked: x"
        await twice(f"{path}/retry")
        await chatd.api.wait_for_status(chat["id"], "error")
        said = (await chatd.api.messages(chat["id"]))[0]["id"]
        edited = await twice(f"{path}/messages/{said}", {"content": "plain"}, method="PATCH")
        assert text_of(edited["content"]) == "plain"
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert await chatd.api.texts(chat["id"], "user") == ["plain"]
        await twice(f"{path}/messages", {"content": "[[call]]"})
        await chatd.api.wait_for_status(chat["id"], "requires_action")
        await twice(f"{path}/tool-results", {"results": [{"tool_call_id": "a", "result": 1}]})
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert await chatd.api.texts(chat["id"], "tool") == [""]
        await twice(f"{path}/messages", {"content": "[[call]]"})
        await chatd.api.wait_for_status(chat["id"], "requires_action")
        await twice(f"{path}/actions", {"answers": [{"tool_call_id": "a", "result": 1}]})
        await chatd.api.wait_for_status(chat["id"], "waiting")
        await twice(f"{path}/append", {"messages": [{"role": "system", "content": "Be brief."}]})
        await twice(f"{path}/fork", {})
        last = (await chatd.api.messages(chat["id"]))[-1]["id"]
        await twice(f"{path}/messages/{last}/regenerate", {})
        await chatd.api.wait_for_status(chat["id"], "requires_action")
        for action, body in (("compact", {}), ("interrupt", None), ("clear", None)):
            await twice(f"{path}/{action}", body)
        assert await chatd.api.messages(chat["id"]) == []
        await twice(path, {"archived": True, "title": "old"}, method="PATCH")
        found = await chatd.api.chat(chat["id"])
        assert (found["archived"], found["title"]) == (True, "old")
    assert repeated == {
        operation["operationId"]
        for method, path, operation in operations()
        if method in {"post", "patch"} and not path.startswith("/api/v1/fleet/")  # test_fleet.py
    }


async def test_reused_key_is_refused(chatd: InProcessDaemon) -> None:
    await keyed(chatd, "/api/v1/chats", "k", {"title": "a"})
    other = await keyed(chatd, "/api/v1/chats", "k", {"title": "b"})
    assert_problem(other, 422, "idempotency_key_reused")
    chat = await chatd.api.create()
    elsewhere = await keyed(chatd, f"/api/v1/chats/{chat['id']}/interrupt", "k")
    assert_problem(elsewhere, 422, "idempotency_key_reused")
    path, headers = f"/api/v1/chats/{chat['id']}", {"idempotency-key": "k"}
    nothing = await chatd.api.http.patch(path, json={}, headers=headers)
    assert_problem(nothing, 422, "idempotency_key_reused")
    fresh = await chatd.api.http.patch(path, json={}, headers={"idempotency-key": "new"})
    assert (fresh.status_code, fresh.json()) == (200, chat)
    listed = (await chatd.api.http.get("/api/v1/chats")).json()["items"]
    assert {found["title"] for found in listed} == {"a", ""}


async def test_key_of_the_same_body_for_another_path_is_refused(chatd: InProcessDaemon) -> None:
    first, second = [f"/api/v1/chats/{(await chatd.api.create())['id']}" for _ in range(2)]
    said = {"content": "x"}
    assert (await keyed(chatd, f"{first}/messages", "m", said)).status_code == 202
    other = await keyed(chatd, f"{second}/messages", "m", said)
    assert_problem(other, 422, "idempotency_key_reused")
    assert await chatd.api.messages(second.rpartition("/")[2]) == []
    assert (await keyed(chatd, f"{second}/interrupt", "i")).status_code == 200
    other = await keyed(chatd, f"{second}/clear", "i")
    assert_problem(other, 422, "idempotency_key_reused")


@pytest.mark.parametrize("key", ["", "a b", "k" * 256, "\u00e9"])
async def test_invalid_keys_are_refused(chatd: InProcessDaemon, key: str) -> None:
    answer = await request_operation(
        chatd, *CREATE, headers=[(b"idempotency-key", key.encode("latin-1"))]
    )
    problem = assert_problem(answer, 422, "invalid_request")
    assert problem["errors"][0]["where"] == "header.idempotency-key"
    assert (await chatd.api.http.get("/api/v1/chats")).json()["items"] == []


async def test_requests_without_key_are_all_executed(chatd: InProcessDaemon) -> None:
    answers: list[httpx2.Response] = [
        await chatd.api.http.post("/api/v1/chats", json={"title": "a"}) for _ in "ab"
    ]
    assert answers[0].json()["id"] != answers[1].json()["id"]
