"""Every method of the Python client, against a daemon."""

import json
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest
from support.client_tools import provider_of_rounds
from support.in_process import running_daemon
from support.providers import ECHO_SCRIPT, scripted
from support.tool_endpoint import tool_endpoint, tools

from chatd.client import (
    ActionRequired,
    ChatChanged,
    ChatDeleted,
    ChatListSnapshot,
    Client,
    Conflict,
    Content,
    InvalidRequest,
    MessageInput,
    NotFound,
    Tool,
    ToolResultInput,
    ToolRule,
    Transcript,
    text_of,
)

HANG = [{"text": "I begin"}, {"hang": True}]
FAILS = [
    {"error": {"status": 401}, "attempts": [1]},
    {"text": "Second time lucky.", "attempts": [2]},
]
CALLS = [
    {"tool_call": {"name": "weather", "args": {"city": "Bern"}, "id": "call_1"}, "calls": [1]},
    {"text": "It rains.", "calls": [2]},
]
WEATHER: Tool = {
    "name": "weather",
    "description": "The weather.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}


@asynccontextmanager
async def calling(dsn: str) -> AsyncIterator[Client]:
    provider = scripted(ECHO_SCRIPT, hang=HANG, fails=FAILS, calls=CALLS)
    async with (
        running_daemon(dsn, provider) as chatd,
        Client(str(chatd.api.http.base_url)) as client,
    ):
        yield client


async def until(client: Client, chat_id: str, status: str) -> Transcript:
    transcript = Transcript()
    async with client.follow(chat_id) as events:
        async for event in events:
            transcript.apply(event)
            if transcript.status == status:
                break
    return transcript


async def message_texts(client: Client, chat_id: str) -> list[str]:
    return [text_of(message["content"]) async for message in client.messages.list(chat_id)]


async def test_lists_continue_over_pages(dsn: str) -> None:
    async with calling(dsn) as client:
        ids = [(await client.chats.create(title=str(number)))["id"] for number in range(7)]
        chats = client.chats.list(page_size=3)
        assert [chat["id"] async for chat in chats] == ids[::-1]
        assert [c["id"] async for c in client.chats.list(page_size=3, max_items=4)] == ids[:2:-1]
        assert [c["id"] async for c in client.chats.list(status="error")] == []
        for number in range(3):
            await client.messages.send(ids[0], str(number))
            await until(client, ids[0], "waiting")
        stored = [message["id"] async for message in client.messages.list(ids[0], page_size=2)]
        assert len(stored) == 6
        later = [m["id"] async for m in client.messages.list(ids[0], after_id=stored[2])]
        assert later == stored[3:]
        versions = [entry["version"] async for entry in client.chats.events(ids[0], page_size=2)]
        assert versions == [*range(1, len(versions) + 1)]
        assert [model["name"] for model in await client.models()] == ["one", "two"]

        messages = [message async for message in client.messages.list(ids[0])]
        for start in (2, 5):
            older = client.messages.list_older(ids[0], messages[start]["id"], page_size=2)
            assert [message async for message in older] == messages[:start][::-1]


async def test_queued_message_can_be_removed_or_promoted(dsn: str) -> None:
    async with calling(dsn) as client:
        chat = await client.chats.create("[[hang]]", labels={"a": "b"})
        await until(client, chat["id"], "running")
        for words in ("one", "two", "three"):
            sent = await client.messages.send(chat["id"], words)
            assert sent["queued"]
        first, second, third = await client.queue.list(chat["id"])
        await client.queue.remove(chat["id"], first["id"])
        with pytest.raises(NotFound):
            await client.queue.remove(chat["id"], first["id"])
        await client.queue.promote(chat["id"], third["id"])
        await until(client, chat["id"], "waiting")
        assert [
            text for text in await message_texts(client, chat["id"]) if text in {"two", "three"}
        ] == [
            text_of(third["content"]),
            text_of(second["content"]),
        ]


async def test_fork_and_regenerate(dsn: str) -> None:
    async with calling(dsn) as client:
        chat = await client.chats.create("hello", title="one")
        question, answer = (await until(client, chat["id"], "waiting")).messages
        fork = await client.chats.fork(
            chat["id"], from_message_id=question["id"], title="two", labels={"a": "b"}
        )
        assert (fork["title"], fork["labels"], fork["status"]) == ("two", {"a": "b"}, "waiting")
        assert await message_texts(client, fork["id"]) == ["hello"]
        await client.messages.regenerate(chat["id"], answer["id"])
        kept, new = (await until(client, chat["id"], "waiting")).messages
        assert kept == question
        assert new["id"] > answer["id"]


async def test_given_id_history_and_tools(dsn: str) -> None:
    async with calling(dsn) as client:
        chat_id = str(uuid4())
        history: list[MessageInput] = [
            {"role": "user", "content": "What is up?"},
            {"role": "assistant", "content": "The sky."},
        ]
        chat = await client.chats.create(id=chat_id, messages=history, expires_in_seconds=600)
        assert (chat["id"], chat["status"]) == (chat_id, "waiting")
        assert chat["expires_at"] is not None
        with pytest.raises(Conflict, match="chat_exists"):
            await client.chats.create(id=chat_id)
        appended = await client.messages.append(
            chat_id, [{"role": "system", "content": "Be brief."}]
        )
        assert [message["role"] for message in appended["messages"]] == ["system"]
        assert (await client.messages.send(chat_id, "hello", tools=[WEATHER]))["queued"] is False
        await until(client, chat_id, "waiting")
        assert [chat["id"] async for chat in client.chats.list()] == []
        await client.chats.delete(chat_id)
        with pytest.raises(NotFound, match="chat_gone"):
            await client.chats.create(id=chat_id)


async def test_compact(dsn: str) -> None:
    async with calling(dsn) as client:
        empty = await client.chats.create()
        with pytest.raises(Conflict, match="nothing_to_compact"):
            await client.chats.compact(empty["id"])
        chat = await client.chats.create("hello")
        await until(client, chat["id"], "waiting")
        compacting = await client.chats.compact(chat["id"], instructions="Keep the names.")
        assert compacting["status"] == "pending"
        await until(client, chat["id"], "waiting")
        assert "hello" in await message_texts(client, chat["id"])


async def test_interrupt_retry_update_clear_delete(dsn: str) -> None:
    async with calling(dsn) as client:
        chat = await client.chats.create("[[hang]]", system_prompt="Be brief.")
        await until(client, chat["id"], "running")
        with pytest.raises(Conflict, match="chat_busy"):
            await client.messages.send(chat["id"], "no", busy_behavior="reject")
        await client.chats.interrupt(chat["id"])
        await until(client, chat["id"], "waiting")
        await client.messages.send(chat["id"], "[[fails]]")
        assert (await until(client, chat["id"], "error")).idle
        await client.chats.retry(chat["id"])
        await until(client, chat["id"], "waiting")
        assert (await message_texts(client, chat["id"]))[-1] == "Second time lucky."
        changed = await client.chats.update(chat["id"], title="t", labels={"k": "v"}, archived=True)
        assert (changed["title"], changed["labels"], changed["archived"]) == ("t", {"k": "v"}, True)
        assert (await client.chats.update(chat["id"], archived=False))["archived"] is False
        await client.chats.clear(chat["id"])
        assert "Second time lucky." not in await message_texts(client, chat["id"])
        async with client.follow(chat["id"]) as events:
            await anext(events)
            await client.chats.delete(chat["id"])
            heard = [event async for event in events]
        assert isinstance(heard[-1], ChatDeleted)
        with pytest.raises(NotFound):
            await client.chats.get(chat["id"])


async def test_client_tools_are_answered(dsn: str) -> None:
    async with calling(dsn) as client:
        chat = await client.chats.create("[[calls]]", tools=[WEATHER])
        transcript = Transcript()
        async with client.follow(chat["id"]) as events:
            async for event in events:
                transcript.apply(event)
                if isinstance(event, ActionRequired) or transcript.action_required is not None:
                    break
        assert transcript.action_required is not None
        (call,) = transcript.action_required["calls"]
        assert (call["tool_name"], json.loads(call["args"])) == ("weather", {"city": "Bern"})
        wrong: ToolResultInput = {"tool_call_id": "other", "result": None, "is_error": True}
        with pytest.raises(InvalidRequest, match="tool_call_unknown"):
            await client.submit_tool_results(chat["id"], [wrong])
        right: ToolResultInput = {"tool_call_id": call["tool_call_id"], "result": {"rain": True}}
        await client.submit_tool_results(chat["id"], [right])
        await until(client, chat["id"], "waiting")
        assert (await message_texts(client, chat["id"]))[-1] == "It rains."


async def test_invalid_request_names_the_field(dsn: str) -> None:
    async with calling(dsn) as client:
        with pytest.raises(InvalidRequest) as caught:
            await client.chats.create("", title="x" * 501)
        assert {error["where"] for error in caught.value.errors} >= {"body.title"}


async def test_follow_all_reports_every_change(dsn: str) -> None:
    async with calling(dsn) as client:
        old = await client.chats.create(title="old")
        async with client.follow_all() as events:
            first = await anext(events)
            assert isinstance(first, ChatListSnapshot)
            assert [chat["id"] for chat in first.data["items"]] == [old["id"]]
            new = await client.chats.create(title="new")
            moved = await anext(events)
            assert isinstance(moved, ChatChanged)
            assert (moved.data["id"], moved.data["title"]) == (new["id"], "new")
            cursor = events.cursor
        await client.chats.delete(old["id"])
        async with client.follow_all(cursor) as events:
            heard = [await anext(events)]
            while not isinstance(heard[-1], ChatDeleted):
                heard.append(await anext(events))
            assert heard[-1].data["id"] == old["id"]
        why = await client.chats.explain(new["id"])
        assert why["reasons"][0]["text"]


async def test_file_of_a_message_is_fetched_as_bytes(dsn: str) -> None:
    data = bytes(range(256))
    async with calling(dsn) as client:
        content: Content = [
            {"type": "text", "text": "Look."},
            {
                "type": "file",
                "media_type": "application/pdf",
                "name": "a.pdf",
                "data": b64encode(data).decode(),
            },
        ]
        chat = await client.chats.create(content)
        [message, *_] = [message async for message in client.messages.list(chat["id"])]
        [_, part] = message["content"]
        assert part["type"] == "file"
        assert (part["name"], part["size"]) == ("a.pdf", 256)
        assert await client.messages.file(chat["id"], part["file_id"]) == data
        with pytest.raises(NotFound):
            await client.messages.file(chat["id"], chat["id"])


async def test_calls_are_approved_denied_and_answered_once(dsn: str) -> None:
    rounds = [[("pay", '{"note": "rent"}')], [("pay", "{}"), ("pay", "{}")], [("pay", "{}")]]
    rules: list[ToolRule] = [{"tools": "pay", "permission": "ask"}]
    async with (
        tool_endpoint() as endpoint,
        running_daemon(dsn, provider_of_rounds(*rounds), **tools(endpoint)) as chatd,
        Client(str(chatd.api.http.base_url)) as client,
    ):
        chat_id = (await client.chats.create("go", tool_rules=rules))["id"]
        asked = await until(client, chat_id, "requires_action")
        assert asked.action_required is not None
        [action] = asked.action_required["calls"]
        assert (action["kind"], action["tool_call_id"]) == ("approval", "c0")
        await client.approve(chat_id, "c0", args={"note": "half of it"})
        while (chat := await client.chats.get(chat_id))["actions"] is None or len(
            chat["actions"]
        ) != 2:
            await until(client, chat_id, "requires_action")
        assert [request.json for request in endpoint.requests] == [{"note": "half of it"}]
        await client.deny(chat_id, "c0", reason="too much")
        await client.deny(chat_id, "c0", reason="too much")  # the same again
        with pytest.raises(Conflict) as caught:
            await client.approve(chat_id, "c0")
        [decision] = caught.value.decisions
        assert caught.value.code == "already_answered"
        assert (decision["decision"], decision["reason"]) == ("deny", "too much")
        await client.approve(chat_id, "c1", remember=True)
        await until(client, chat_id, "waiting")
        assert len(endpoint.requests) == 3, "the last one runs unasked"
        changed = await client.chats.update(chat_id, permission_mode="read_only")
        assert (changed["permission_mode"], changed["tool_rules"]) == ("read_only", rules)


async def test_operators_see_and_change_the_fleet(dsn: str) -> None:
    async with calling(dsn) as client:
        chat = await client.chats.create("[[hang]]")
        await until(client, chat["id"], "running")
        [worker] = (await client.fleet.get())["workers"]
        [shown] = await client.fleet.chats(status="running", owner_id="local")
        assert (shown["id"], shown["worker_id"]) == (chat["id"], worker["worker_id"])
        await client.fleet.interrupt(chat["id"])
        await until(client, chat["id"], "waiting")
        assert (await client.fleet.archive(chat["id"]))["archived"]
        failed = await client.chats.create("[[fails]]")
        await until(client, failed["id"], "error")
        await client.fleet.retry(failed["id"])
        await until(client, failed["id"], "waiting")
        for method, draining in ((client.fleet.drain, True), (client.fleet.resume, False)):
            await method(worker["worker_id"])
            assert [w["draining"] for w in (await client.fleet.get())["workers"]] == [draining]
        assert (await client.fleet.history())["interval_seconds"] == 10
