"""Every declared event is sent by a real stream and fits its schema.

The clients of the tests validate each event that they receive (``assert_event_documented``), so it is
enough here to have every event sent, and to see that a wrong one is noticed.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import UUID, uuid4

import httpx2
import pytest
from support.eventually import eventually
from support.in_process import InProcessDaemon, fetch_rows, running_daemon
from support.openapi_conformance import assert_event_documented, document
from support.providers import (
    FunctionProvider,
    finished,
    last_user_text,
    text_delta,
    tool_call_delta,
)
from support.sse_client import SseEvent
from support.streams import available_events, background_subscriber, stream_events

from chatd.domain.stream_events import StreamEventType
from chatd.domain.tool_call import CallPolicy
from chatd.llm.errors import ProviderError
from chatd.llm.provider import Delta, ModelRequest, PartDelta
from chatd.store.database import Database
from chatd.tools.registry import ToolRegistry
from chatd.tools.tool import Tool, ToolOutcome, ToolRequest

MARKS = {"name": "vendor", "id": "a-mark-of-the-vendor"}
"""Data that the provider wants back with a part."""


class ScriptedModel:
    """Model that fails once, reasons, calls a tool, waits and answers, or fails for good."""

    def __init__(self) -> None:
        self.stumbled = False
        self.go_on = asyncio.Event()

    async def act(self, request: ModelRequest) -> AsyncIterator[Delta]:
        fails = last_user_text(request).startswith("fail")
        if fails or not self.stumbled:
            self.stumbled |= not fails
            yield text_delta("I begin and ")
            status = 401 if fails else 503
            raise ProviderError("The model stumbled.", status_code=status)
        if request.messages[-1].role == "tool":
            yield text_delta("Th")
            await self.go_on.wait()
            yield text_delta("ere it is.")
            yield finished()
            return
        yield PartDelta({"index": 0, "type": "reasoning", "text": "Well. "})
        yield PartDelta({"index": 0, "type": "reasoning", "provider": MARKS})
        yield text_delta("A moment.", 1)
        yield tool_call_delta("look", "call_1", '{"at": "it"}', 2)
        yield finished("tool_call")


async def run_scenario(chatd: InProcessDaemon, model: ScriptedModel) -> tuple[str, list[SseEvent]]:
    """Run the scenario with one subscriber until the daemon stops. Return all events."""
    chat_id = (await chatd.api.create())["id"]
    async with background_subscriber(chatd, chat_id) as viewer:
        await chatd.api.send(chat_id, "hello")
        await eventually(lambda: any(e.data.get("text") == "Th" for e in viewer.events))
        await chatd.api.send(chat_id, "fail")
        await chatd.api.http.patch(f"/api/v1/chats/{chat_id}", json={"title": "a title"})
        late = await available_events(chatd, chat_id, after="99.9.9")
        model.go_on.set()
        await chatd.api.wait_for_status(chat_id, "error")
        whole = await available_events(chatd, chat_id)
        events = await chatd.api.http.get(f"/api/v1/chats/{chat_id}/events")
        assert MARKS["id"] not in json.dumps([events.json(), await chatd.api.messages(chat_id)])
        await chatd.stop()
        await asyncio.wait([viewer.task])
        return chat_id, [*viewer.events, *late, *whole]


async def require_action(chatd: InProcessDaemon) -> list[SseEvent]:
    """Have the model call a client tool. Return the events."""
    tool = {"name": "look", "parameters": {"type": "object"}}
    chat_id = (await chatd.api.create(tools=[tool]))["id"]
    async with background_subscriber(chatd, chat_id) as viewer:
        await chatd.api.send(chat_id, "look at it")
        await eventually(lambda: any(e.event == "action_required" for e in viewer.events))
        (late,) = await available_events(chatd, chat_id)
        assert late.data["action_required"]["calls"][0]["tool_call_id"] == "call_1"
        await chatd.api.submit_tool_results(chat_id, {"call_1": "nothing"})
        await eventually(lambda: any(e.event == "action_answered" for e in viewer.events))
        await chatd.api.interrupt(chat_id)
        return [*viewer.events, late]


async def run_server_tool(chatd: InProcessDaemon) -> list[SseEvent]:
    """Have the model call a tool of the server. Return the events."""

    async def run(_: ToolRequest) -> ToolOutcome:
        return ToolOutcome(text="seen")

    tool = Tool(
        name="look",
        description="",
        parameters={"type": "object"},
        policy=CallPolicy.AT_MOST_ONCE,
        timeout_seconds=60,
        run=run,
    )
    config = chatd.daemon.config
    before = config.current
    config.current = replace(before, turn=replace(before.turn, tools=ToolRegistry([tool])))
    chat_id = (await chatd.api.create())["id"]
    async with background_subscriber(chatd, chat_id) as viewer:
        await chatd.api.send(chat_id, "look at it")
        await eventually(lambda: any(e.event == "tool_calls" for e in viewer.events))
        await chatd.api.interrupt(chat_id)
        await chatd.api.wait_for_status(chat_id, "waiting")
    config.current = before
    return viewer.events


async def edit_and_delete(chatd: InProcessDaemon, database: Database) -> list[SseEvent]:
    """Edit a message that a summary covers, then delete the chat. Return the events."""
    chat_id = (await chatd.api.create("fail"))["id"]
    await chatd.api.wait_for_status(chat_id, "error")
    await database.fetch(
        "INSERT INTO chat_messages (chat_id, id, version, role, content, visibility, covers_until)"
        " SELECT $1, id + 1, version, 'user', '[]', 'model', id FROM chat_messages"
        " WHERE chat_id = $1",
        UUID(chat_id),
    )
    path = f"/api/v1/chats/{chat_id}"
    async with background_subscriber(chatd, chat_id) as viewer:
        first = (await chatd.api.messages(chat_id))[0]["id"]
        edited = await chatd.api.http.patch(
            f"{path}/messages/{first}", json={"content": "fail again"}
        )
        assert edited.status_code == 200, edited.text
        await eventually(lambda: any(e.event == "history_reset" for e in viewer.events))
        assert {"compacted_until": 0} in [event.data for event in viewer.events]
        deleted = await chatd.api.http.delete(path)
        assert deleted.status_code == 204, deleted.text
        await eventually(viewer.task.done)
        return viewer.events


async def test_chat_events_fit_their_schemas(dsn: str, database: Database) -> None:
    model = ScriptedModel()
    async with running_daemon(
        dsn,
        FunctionProvider(model.act),
        http={"sse_keepalive_seconds": 0.2},
        mcp={"absent": {"command": "/no/such/program"}},
    ) as chatd:
        edited = await edit_and_delete(chatd, database)
        required = await require_action(chatd) + await run_server_tool(chatd)
        chat_id, received = await run_scenario(chatd, model)
        received += edited + required
    assert {event.event for event in received} == declared_events("ChatEvent"), (
        "have the scenario send it, or remove its declaration"
    )
    assert MARKS["id"] not in json.dumps([event.data for event in received])
    (kept,) = await fetch_rows(
        database,
        "SELECT content FROM chat_messages WHERE chat_id = $1 AND content::text LIKE $2",
        chat_id,
        f"%{MARKS['id']}%",
    )
    assert kept["content"][0] == {"type": "reasoning", "text": "Well. ", "provider": MARKS}


async def test_chat_list_events_fit_their_schemas(dsn: str) -> None:
    received: list[SseEvent] = []

    async def follow(after: str | None = None) -> None:
        async for event in stream_events(chatd, "/api/v1/chats/stream", after):
            received.extend([event] if event else [])

    async with running_daemon(dsn) as chatd:
        late = asyncio.create_task(follow("a place that never was"))
        task = asyncio.create_task(follow())
        await eventually(lambda: len(received) == 3)
        chat_id = (await chatd.api.create("hello"))["id"]
        await chatd.api.wait_for_status(chat_id, "waiting")
        await eventually(lambda: any(e.event == "chat" for e in received))
        deleted = await chatd.api.http.delete(f"/api/v1/chats/{chat_id}")
        assert deleted.status_code == 204
        await eventually(lambda: sum(e.event == "deleted" for e in received) == 2)
        await chatd.stop()
        await asyncio.gather(late, task)
    assert {event.event for event in received} == declared_events("ChatListEvent")


def declared_events(union: str) -> set[str]:
    """Return the types of the events that the document declares for a stream."""
    schema = document()["components"]["schemas"][union]
    mapping: dict[str, str] = schema["discriminator"]["mapping"]
    assert {*mapping.values()} == {member["$ref"] for member in schema["oneOf"]}
    return {*mapping}


def test_every_event_type_has_a_schema() -> None:
    assert set(StreamEventType) <= declared_events("ChatEvent")


@pytest.mark.parametrize(
    ("event", "data", "cursor"),
    [
        ("unheard_of", {}, "1.0.0"),
        ("status", {"status": "running", "epoch": 1}, None),
        ("status", {"status": "sleeping", "epoch": 1}, "1.0.0"),
        ("message_part", {"index": 0, "type": "smell", "text": "x"}, "1.0.0"),
        ("message_part", {"index": 0, "type": "text"}, "1.0.0"),
        ("error", {"last_error": "so it is", "last_error_detail": {"kind": "unknown"}}, "1.0.0"),
        ("deleted", {"id": "not an id"}, None),
    ],
)
def test_undocumented_event_is_noticed(event: str, data: object, cursor: str | None) -> None:
    request = httpx2.Request("GET", f"http://chatd/api/v1/chats/{uuid4()}/stream")
    with pytest.raises(AssertionError):
        assert_event_documented(request, event, data, cursor)
