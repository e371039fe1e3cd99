"""Every event that a stream sends is described, and fits its description.

The clients of the tests look at every event that they hear (``described``), so here it is enough to
have every one of them said by a real stream, and to see that the look would notice.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from uuid import uuid4

import httpx2
import pytest
from described import document, is_described_event
from inside import Acted, Inside, asked, done, one, rows, said, tool_call
from running import Event, fact
from viewing import everything, following, listen_to

from chatd.domain.event import StreamEventType
from chatd.llm.errors import ProviderError
from chatd.llm.provider import Delta, ModelRequest, PartDelta
from chatd.store.pool import Database

MARKS = {"name": "vendor", "id": "a-mark-of-the-vendor"}
"""What a vendor wants back with a part."""


class Play:
    """A model that stumbles once, thinks, calls a tool, waits, and answers; or fails for good."""

    def __init__(self) -> None:
        self.stumbled = False
        self.go_on = asyncio.Event()

    async def act(self, request: ModelRequest) -> AsyncIterator[Delta]:
        fails = asked(request).startswith("fail")
        if fails or not self.stumbled:
            self.stumbled |= not fails
            yield said("I begin and ")
            status = 401 if fails else 503
            raise ProviderError("The model stumbled.", status_code=status)
        if request.messages[-1].role == "tool":
            yield said("Th")
            await self.go_on.wait()
            yield said("ere it is.")
            yield done()
            return
        yield PartDelta({"index": 0, "type": "reasoning", "text": "Well. "})
        yield PartDelta({"index": 0, "type": "reasoning", "provider": MARKS})
        yield said("A moment.", 1)
        yield tool_call("look", "call_1", '{"at": "it"}', 2)
        yield done("tool_call")


async def play(chatd: Inside, director: Play) -> tuple[str, list[Event]]:
    """All of it, as one viewer hears it until the daemon stops."""
    chat_id = (await chatd.api.create())["id"]
    async with following(chatd, chat_id) as viewer:
        await chatd.api.send(chat_id, "hello")
        await fact(lambda: any(e.data.get("text") == "Th" for e in viewer.heard))
        await chatd.api.send(chat_id, "fail")
        await chatd.api.http.patch(f"/api/v1/chats/{chat_id}", json={"title": "a title"})
        late = await everything(chatd, chat_id, after="99.9.9")
        director.go_on.set()
        await chatd.api.until(chat_id, "error")
        whole = await everything(chatd, chat_id)
        events = await chatd.api.http.get(f"/api/v1/chats/{chat_id}/events")
        assert MARKS["id"] not in json.dumps([events.json(), await chatd.api.messages(chat_id)])
        await chatd.stop()
        await asyncio.wait([viewer.task])
        return chat_id, [*viewer.heard, *late, *whole]


async def asks(chatd: Inside) -> list[Event]:
    """The model calls a tool that its client runs."""
    tool = {"name": "look", "parameters": {"type": "object"}}
    chat_id = (await chatd.api.create(tools=[tool]))["id"]
    async with following(chatd, chat_id) as viewer:
        await chatd.api.send(chat_id, "look at it")
        await fact(lambda: any(e.event == "action_required" for e in viewer.heard))
        (late,) = await everything(chatd, chat_id)
        assert late.data["action_required"]["calls"][0]["tool_call_id"] == "call_1"
        await chatd.api.interrupt(chat_id)
        return [*viewer.heard, late]


async def unsay(chatd: Inside) -> list[Event]:
    """A message is edited, then its chat deleted."""
    chat_id = (await chatd.api.create("fail"))["id"]
    await chatd.api.until(chat_id, "error")
    path = f"/api/v1/chats/{chat_id}"
    async with following(chatd, chat_id) as viewer:
        first = (await chatd.api.messages(chat_id))[0]["id"]
        edited = await chatd.api.http.patch(
            f"{path}/messages/{first}", json={"content": "fail again"}
        )
        assert edited.status_code == 200, edited.text
        await fact(lambda: any(e.event == "history_reset" for e in viewer.heard))
        gone = await chatd.api.http.delete(path)
        assert gone.status_code == 204, gone.text
        await fact(viewer.task.done)
        return viewer.heard


async def test_every_type_of_event_is_described_as_it_is_sent(dsn: str, database: Database) -> None:
    director = Play()
    async with one(dsn, Acted(director.act), http={"sse_keepalive_seconds": 0.2}) as chatd:
        unsaid = await unsay(chatd)
        asked_for = await asks(chatd)
        chat_id, heard = await play(chatd, director)
        heard += unsaid + asked_for
    assert {event.event for event in heard} == set(StreamEventType), (
        "have it said, or say it no more"
    )
    assert MARKS["id"] not in json.dumps([event.data for event in heard])
    (kept,) = await rows(
        database,
        "SELECT content FROM chat_messages WHERE chat_id = $1 AND content::text LIKE $2",
        chat_id,
        f"%{MARKS['id']}%",
    )
    assert kept["content"][0] == {"type": "reasoning", "text": "Well. ", "provider": MARKS}


async def test_every_type_of_event_of_a_list_is_described_as_it_is_sent(dsn: str) -> None:
    heard: list[Event] = []

    async def follow(after: str | None = None) -> None:
        async for event in listen_to(chatd, "/api/v1/chats/stream", after):
            heard.extend([event] if event else [])

    async with one(dsn) as chatd:
        late = asyncio.create_task(follow("a place that never was"))
        task = asyncio.create_task(follow())
        await fact(lambda: len(heard) == 3)
        chat_id = (await chatd.api.create("hello"))["id"]
        await chatd.api.until(chat_id, "waiting")
        await fact(lambda: any(e.event == "chat" for e in heard))
        gone = await chatd.api.http.delete(f"/api/v1/chats/{chat_id}")
        assert gone.status_code == 204
        await fact(lambda: sum(e.event == "deleted" for e in heard) == 2)
        await chatd.stop()
        await asyncio.gather(late, task)
    mapping = document()["components"]["schemas"]["ListEvent"]["discriminator"]["mapping"]
    assert {event.event for event in heard} == mapping.keys()


def test_every_type_of_event_has_a_schema() -> None:
    schemas = document()["components"]["schemas"]
    assert set(StreamEventType) <= schemas["ChatEvent"]["discriminator"]["mapping"].keys()


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
def test_what_is_not_described_is_noticed(event: str, data: object, cursor: str | None) -> None:
    request = httpx2.Request("GET", f"http://chatd/api/v1/chats/{uuid4()}/stream")
    with pytest.raises(AssertionError):
        is_described_event(request, event, data, cursor)
