"""Routes of messages and of the queue."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from support.in_process import InProcessDaemon, running_daemon
from support.providers import FunctionProvider, finished, last_user_text, text_delta
from support.requests import assert_problem, fetch_all_pages

from chatd.llm.provider import Delta, ModelRequest

WORKER = {"max_queued_messages": 2}


class Held:
    """Provider that pauses its answer until ``go`` is set."""

    def __init__(self) -> None:
        self.provider = FunctionProvider(self._act)
        self.go = asyncio.Event()

    async def _act(self, request: ModelRequest) -> AsyncIterator[Delta]:
        yield text_delta("You said: ")
        await self.go.wait()
        yield text_delta(last_user_text(request))
        yield finished()


async def test_message_to_an_idle_chat_is_stored(chatd: InProcessDaemon) -> None:
    chat = await chatd.api.create()
    sent = await chatd.api.send(chat["id"], "hello", model="two")
    assert sent["queued"] is False
    assert sent["queued_message"] is None
    assert sent["chat"]["status"] == "pending"
    assert sent["chat"]["version"] == chat["version"] + 1
    message = sent["message"]
    assert (message["role"], message["model"]) == ("user", "two")
    assert message["content"] == [{"type": "text", "text": "hello"}]
    await chatd.api.wait_for_status(chat["id"], "waiting")
    stored, answer = await chatd.api.messages(chat["id"])
    assert stored == message
    assert stored.keys() == {
        "id",
        "chat_id",
        "role",
        "content",
        "model",
        "usage",
        "finish_reason",
        "compacted",
        "created_at",
    }
    assert (answer["role"], answer["model"], answer["finish_reason"]) == (
        "assistant",
        "two",
        "stop",
    )
    assert answer["usage"]["output_tokens"] > 0
    assert stored["usage"] is stored["finish_reason"] is None


async def test_messages_are_paged_forwards_and_backwards(chatd: InProcessDaemon) -> None:
    chat_id = (await chatd.api.create("0"))["id"]
    for n in range(1, 4):
        await chatd.api.wait_for_status(chat_id, "waiting")
        await chatd.api.send(chat_id, str(n))
    await chatd.api.wait_for_status(chat_id, "waiting")
    path = f"/api/v1/chats/{chat_id}/messages"
    whole = await chatd.api.messages(chat_id)
    ids = [m["id"] for m in whole]
    assert len(whole) == 8
    assert ids == sorted(set(ids))
    for limit in (1, 3, 4, 8, 9):
        assert await fetch_all_pages(chatd, path, "after_id", limit=limit) == whole
        assert (
            await fetch_all_pages(chatd, path, "after_id", limit=limit, after_id=ids[2])
            == whole[3:]
        )
        assert await backwards(chatd, path, limit, ids[-1]) == whole[:-1]
        assert await backwards(chatd, path, limit, 2**63 - 1) == whole
    for edge in ({"after_id": ids[-1]}, {"before_id": ids[0]}, {"before_id": 0}):
        answer = await chatd.api.http.get(path, params=edge)
        assert answer.json() == {"items": [], "next_cursor": None}


async def backwards(
    chatd: InProcessDaemon, path: str, limit: int, before_id: int | str | None
) -> list[dict[str, Any]]:
    """Return the messages before one, page by page, in the order of the history."""
    items: list[dict[str, Any]] = []
    while before_id is not None:
        answer = await chatd.api.http.get(path, params={"limit": limit, "before_id": before_id})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert len(page["items"]) <= limit
        items = page["items"] + items
        before_id = page["next_cursor"]
    return items


async def test_after_and_before_exclude_each_other(chatd: InProcessDaemon) -> None:
    chat_id = (await chatd.api.create())["id"]
    answer = await chatd.api.http.get(
        f"/api/v1/chats/{chat_id}/messages", params={"after_id": 0, "before_id": 0}
    )
    assert_problem(answer, 422, "conflicting_parameters", "after_id", "before_id")


async def test_full_queue_refuses_messages(dsn: str) -> None:
    held = Held()
    async with running_daemon(dsn, held.provider, worker=WORKER) as chatd:
        chat_id = (await chatd.api.create("0"))["id"]
        await chatd.api.wait_for_status(chat_id, "running")
        queued = [(await chatd.api.send(chat_id, str(n)))["queued_message"] for n in (1, 2)]
        path = f"/api/v1/chats/{chat_id}/messages"
        full = await chatd.api.chat(chat_id)
        assert full["queue_length"] == 2
        for busy in ("queue", "interrupt"):
            answer = await chatd.api.http.post(path, json={"content": "3", "busy_behavior": busy})
            assert_problem(answer, 429, "queue_full", "worker.max_queued_messages")
        answer = await chatd.api.http.post(path, json={"content": "3", "busy_behavior": "reject"})
        assert_problem(answer, 409, "chat_busy")
        assert await chatd.api.chat(chat_id) == full  # a refusal changes nothing
        listed = (await chatd.api.http.get(f"/api/v1/chats/{chat_id}/queue")).json()
        assert listed == {"items": queued, "next_cursor": None}
        assert queued[0].keys() == {"id", "chat_id", "content", "model", "created_at"}
        held.go.set()
        await chatd.api.wait_for_status(chat_id, "waiting")
        assert await chatd.api.texts(chat_id, "user") == ["0", "1", "2"]
        assert (await chatd.api.http.get(f"/api/v1/chats/{chat_id}/queue")).json()["items"] == []


async def test_unknown_model_stores_nothing(chatd: InProcessDaemon) -> None:
    chat = await chatd.api.create()
    for model in ("three", "", "ONE", "one\x00", "\N{PILE OF POO}"):
        body = {"content": "hello", "model": model}
        for path in ("/api/v1/chats", f"/api/v1/chats/{chat['id']}/messages"):
            answer = await chatd.api.http.post(path, json=body)
            assert_problem(answer, 422, "model_not_found")
    assert (await chatd.api.http.get("/api/v1/chats")).json()["items"] == [chat]


async def test_content_parts_are_stored_and_returned(chatd: InProcessDaemon) -> None:
    content = [
        {"type": "text", "text": "What is "},
        {"type": "file", "media_type": "image/png", "data": "iVBORw0KGgo="},
        {"type": "text", "text": "this?"},
    ]
    chat_id = (await chatd.api.create())["id"]
    sent = await chatd.api.send(chat_id, content)  # type: ignore[arg-type]
    stored = sent["message"]["content"]
    assert stored[::2] == content[::2]
    assert stored[1].items() >= {"media_type": "image/png", "name": None, "size": 8}.items()
    await chatd.api.wait_for_status(chat_id, "waiting")
    assert (await chatd.api.messages(chat_id))[0]["content"] == stored
    other = await chatd.api.create(content)  # type: ignore[arg-type]
    await chatd.api.wait_for_status(other["id"], "waiting")
    [_, file, _] = (await chatd.api.messages(other["id"]))[0]["content"]
    assert (file["file_id"], file["url"]) == (
        stored[1]["file_id"],
        f"/api/v1/chats/{other['id']}/files/{file['file_id']}",
    )
