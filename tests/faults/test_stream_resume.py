"""Hundreds of subscribers connect, disconnect and resume anywhere.

A subscriber starts without a cursor or with that of another one. It resets its connection (RST), also in
the middle of an event, and resumes on the same replica or on the other. In the end, the deltas that it
joined equal the stored message.
"""

import asyncio
import json
import random
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from urllib.parse import urlsplit

import pytest
from support.eventually import TIMEOUT_SECONDS, eventually
from support.in_process import InProcessDaemon, running_daemons
from support.providers import FunctionProvider, finished, last_user_text, scripted, text_delta
from support.sse_client import ChatView, SseEvent, text_of
from support.streams import available_events, background_subscriber, journal_events
from support.trials import trials

from chatd.llm.errors import ProviderError
from chatd.llm.provider import Delta, ModelRequest

SEED = random.randrange(10**6)
CHATS = 40
SUBSCRIBERS = CHATS * trials(10)
CONCURRENT_CONNECTIONS = 60

SCRIPT = [
    {"error": {"status": 503}, "attempts": [1], "turns": [2]},
    {"text": "One two three four five six seven: {message}. ", "chunks": 6, "delay_seconds": 0.02},
    {"text": "Eight nine ten.", "chunks": 5, "delay_seconds": 0.03},
]


def copy_of(view: ChatView) -> ChatView:
    """Return a copy of a view, for another subscriber to resume from."""
    return replace(view, events=[], messages=dict(view.messages))


async def events_of(reader: asyncio.StreamReader) -> AsyncIterator[SseEvent]:
    """Yield the events of a chunked response as they arrive."""
    fields: dict[str, str] = {}
    while line := await reader.readline():
        name, colon, value = line.decode().rstrip("\r\n").partition(": ")
        if colon and name in {"event", "id", "data"}:
            fields[name] = value
        elif not name and "data" in fields:
            yield SseEvent(fields["event"], json.loads(fields["data"]), fields.get("id"))
            fields = {}


async def read_and_reset(
    chatd: InProcessDaemon, chat_id: str, view: ChatView, max_events: int, *, mid_event: bool
) -> int:
    """Read some events over a new connection, and reset it. Return their number."""
    host = urlsplit(str(chatd.api.http.base_url))
    reader, writer = await asyncio.open_connection(host.hostname, host.port)
    try:
        cursor = f"last-event-id: {view.cursor}\r\n" if view.cursor else ""
        writer.write(
            f"GET /api/v1/chats/{chat_id}/stream HTTP/1.1\r\nhost: localhost\r\n{cursor}\r\n".encode()
        )
        count = 0
        if max_events:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                assert b" 200 " in await reader.readline()
                async for event in events_of(reader):
                    view.apply(event)
                    count += 1
                    if count >= max_events or is_complete(view):
                        break
        if mid_event:
            with suppress(TimeoutError):
                await asyncio.wait_for(reader.read(7), 0.001)
        return count
    finally:
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()


def is_complete(view: ChatView) -> bool:
    return view.status == "waiting" and len(view.messages) == 4


@pytest.mark.slow
async def test_deltas_of_many_subscribers_equal_the_stored_message(dsn: str) -> None:
    numbers = random.Random(SEED)
    known_views: dict[str, list[ChatView]] = {}
    limit = asyncio.Semaphore(CONCURRENT_CONNECTIONS)
    connections = copied_views = 0

    async def follow_in_pieces(chat_id: str) -> ChatView:
        nonlocal connections, copied_views
        view = ChatView()
        async with limit:
            if known_views[chat_id] and numbers.random() < 0.5:
                view = copy_of(numbers.choice(known_views[chat_id]))
                copied_views += 1
            while not is_complete(view):
                max_events = numbers.choice([0, 1, 1, 2, 3, 8, 1000])
                replica = numbers.choice(replicas)
                await read_and_reset(
                    replica, chat_id, view, max_events, mid_event=numbers.random() < 0.3
                )
                connections += 1
                if view.cursor:
                    known_views[chat_id].append(copy_of(view))
        return view

    async def send_two(number: int, chat_id: str) -> None:
        here = replicas[number % 2]
        await asyncio.sleep(numbers.random() * 4)
        for turn in range(2):
            await here.api.send(chat_id, f"{number}-{turn}")

    async with running_daemons(
        dsn, [scripted(SCRIPT), scripted(SCRIPT)], limits={"max_requests": 0}
    ) as replicas:
        ids = [(await replicas[0].api.create())["id"] for _ in range(CHATS)]
        known_views |= {chat_id: [] for chat_id in ids}
        async with asyncio.TaskGroup() as group:
            for number, chat_id in enumerate(ids):
                group.create_task(send_two(number, chat_id))
            following = [
                (chat_id, group.create_task(follow_in_pieces(chat_id)))
                for _ in range(SUBSCRIBERS // CHATS)
                for chat_id in ids
            ]
        stored = {
            chat_id: {
                m["id"]: text_of(m["content"]) for m in await replicas[0].api.messages(chat_id)
            }
            for chat_id in ids
        }
        assert len(following) == SUBSCRIBERS
        for chat_id, task in following:
            view = task.result()
            assert view.messages == stored[chat_id], SEED
            assert view.preview == "", SEED
        assert connections > SUBSCRIBERS, connections
        assert copied_views > SUBSCRIBERS / 4, copied_views
        for replica in replicas:
            hub = replica.daemon.services.hub
            await eventually(
                lambda hub=hub: not hub._topics, describe=lambda hub=hub: f"{hub._topics}"
            )


class EventfulProvider:
    """A provider that streams some words, then fails or hangs if the message asks for it."""

    def __init__(self) -> None:
        self.provider = FunctionProvider(self._stream)
        self.hanging_turns = 0

    async def _stream(self, request: ModelRequest) -> AsyncIterator[Delta]:
        words = last_user_text(request)
        for number in range(4):
            yield text_delta(f"{words}/{number} ")
            await asyncio.sleep(0.01)
        if words.startswith("hang"):
            self.hanging_turns += 1
            await asyncio.Event().wait()
        if words.startswith("fail"):
            raise ProviderError("no", status_code=400)
        yield finished()


async def run_eventful_chat(
    chatd: InProcessDaemon, chat_id: str, provider: EventfulProvider
) -> int:
    """Stop, queue, fail and rename a chat. Return its last version."""
    api = chatd.api
    path = f"/api/v1/chats/{chat_id}"
    await api.send(chat_id, "one")
    await api.wait_for_status(chat_id, "waiting")
    await api.send(chat_id, "hang one")
    await eventually(lambda: provider.hanging_turns == 1)
    await api.send(chat_id, "two", busy_behavior="queue")
    await api.send(chat_id, "three", busy_behavior="queue")
    named = await api.http.patch(path, json={"title": "a new name", "labels": {"a": "b"}})
    assert named.status_code == 200, named.text
    await api.interrupt(chat_id)  # The queued messages follow.
    await api.wait_for_status(chat_id, "waiting")
    await api.send(chat_id, "hang two")
    await eventually(lambda: provider.hanging_turns == 2)
    await api.send(chat_id, "four", busy_behavior="interrupt")
    await api.wait_for_status(chat_id, "waiting")
    await api.send(chat_id, "fail")
    await api.wait_for_status(chat_id, "error")
    await api.send(chat_id, "five")
    return int((await api.wait_for_status(chat_id, "waiting"))["version"])


@pytest.mark.slow
async def test_resume_from_any_cursor_of_an_eventful_chat_yields_the_rest(dsn: str) -> None:
    """A cursor may be between two events of one entry, and either replica resumes it."""
    provider = EventfulProvider()
    replicas = running_daemons(
        dsn,
        [provider.provider] * 2,
        http={"sse_keepalive_seconds": 0.2},
        stream={"flush_interval_seconds": 0.01},
    )
    async with replicas as (here, there):
        chat_id = (await here.api.create())["id"]
        async with (
            background_subscriber(here, chat_id) as here_subscriber,
            background_subscriber(there, chat_id) as there_subscriber,
        ):
            version = await run_eventful_chat(here, chat_id, provider)
            runs = [here_subscriber.events, there_subscriber.events]
            for run in runs:
                await eventually(lambda run=run: (run[-1].id or "").startswith(f"{version}."))
        assert {event.event for event in runs[0]} >= {
            "snapshot",
            "status",
            "message",
            "message_part",
            "preview_reset",
            "queue_update",
            "error",
            "chat",
        }
        assert journal_events(runs[0])[1:] == journal_events(runs[1])[1:]
        cursors = [(run, number) for run in runs for number in range(len(run))]
        assert sum("~" in (run[number].id or "") for run, number in cursors) >= 10
        limit = asyncio.Semaphore(40)

        async def resume(replica: InProcessDaemon, run: list[SseEvent], number: int) -> None:
            async with limit:
                received = await available_events(replica, chat_id, run[number].id)
            assert journal_events(received) == journal_events(run[number + 1 :]), run[number].id

        async with asyncio.TaskGroup() as group:
            for run, number in cursors:
                for replica in (here, there):
                    group.create_task(resume(replica, run, number))


@pytest.mark.slow
async def test_resume_after_an_edit_sends_nothing_superseded(dsn: str) -> None:
    """No superseded message is sent between a cursor and the reset, even with an older cursor."""
    replicas = running_daemons(dsn, [scripted()] * 2, http={"sse_keepalive_seconds": 0.2})
    async with replicas as (here, there):
        chat = await here.api.create(title="Words", system_prompt="Be brief.")
        chat_id, path = chat["id"], f"/api/v1/chats/{chat['id']}"
        async with background_subscriber(here, chat_id) as subscriber:
            await here.api.send(chat_id, "old words")
            await here.api.wait_for_status(chat_id, "waiting")
            await here.api.send(chat_id, "more old words")
            await here.api.wait_for_status(chat_id, "waiting")
            first_message = next(m for m in await here.api.messages(chat_id) if m["role"] == "user")
            answer = await here.api.http.patch(
                f"{path}/messages/{first_message['id']}", json={"content": "other words"}
            )
            assert answer.status_code == 200, answer.text
            await here.api.wait_for_status(chat_id, "waiting")
            assert (await here.api.http.post(f"{path}/clear")).status_code == 200
            await eventually(lambda: event_types(subscriber.events).count("history_reset") == 2)
            await here.api.send(chat_id, "new words")
            version = (await here.api.wait_for_status(chat_id, "waiting"))["version"]
            await eventually(lambda: (subscriber.events[-1].id or "").startswith(f"{version}."))
        run = subscriber.events
        assert event_types(run).count("message") >= 8
        last_reset = max(n for n, kind in enumerate(event_types(run)) if kind == "history_reset")
        for number, event_before in enumerate(run):
            rest = [
                event
                for later, event in enumerate(run[number + 1 :], number + 1)
                if event.event != "message" or later > last_reset
            ]
            received = await available_events(
                here if number % 2 else there, chat_id, event_before.id
            )
            assert journal_events(received) == journal_events(rest), event_before.id
            assert "old words" not in json.dumps([event.data for event in received])


def event_types(events: list[SseEvent]) -> list[str]:
    return [event.event for event in events]
