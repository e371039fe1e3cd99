"""A thousand viewers subscribe anywhere, hang up anywhere, and come back anywhere.

A viewer may begin with nothing, or where another viewer was; it hangs up without a word (RST), also in
the middle of an event; it comes back to the same replica or to the other. What it has put together at
the end is what is stored.
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

from support.eventually import TIMEOUT_SECONDS, eventually
from support.in_process import InProcessDaemon, running_daemons
from support.providers import FunctionProvider, finished, last_user_text, scripted, text_delta
from support.sse_client import ChatView, SseEvent, text_of
from support.streams import available_events, background_subscriber, journal_events

from chatd.llm.errors import ProviderError
from chatd.llm.provider import Delta, ModelRequest

SEED = random.randrange(10**6)
CHATS = 40
VIEWERS = 1_000
AT_ONCE = 60

SPEECH = [
    {"error": {"status": 503}, "attempts": [1], "turns": [2]},
    {"text": "One two three four five six seven: {message}. ", "chunks": 6, "delay_seconds": 0.02},
    {"text": "Eight nine ten.", "chunks": 5, "delay_seconds": 0.03},
]


def copied(view: ChatView) -> ChatView:
    """What a viewer has at its cursor, for another to go on from."""
    return replace(view, events=[], messages=dict(view.messages))


async def events_of(reader: asyncio.StreamReader) -> AsyncIterator[SseEvent]:
    """Events as they come through chunked coding, without waiting for the end of anything."""
    fields: dict[str, str] = {}
    while line := await reader.readline():
        name, colon, value = line.decode().rstrip("\r\n").partition(": ")
        if colon and name in {"event", "id", "data"}:
            fields[name] = value
        elif not name and "data" in fields:
            yield SseEvent(fields["event"], json.loads(fields["data"]), fields.get("id"))
            fields = {}


async def glimpse(
    chatd: InProcessDaemon, chat_id: str, view: ChatView, most: int, *, torn: bool
) -> int:
    """Read some events over a connection of one's own, and reset it."""
    host = urlsplit(str(chatd.api.http.base_url))
    reader, writer = await asyncio.open_connection(host.hostname, host.port)
    try:
        cursor = f"last-event-id: {view.cursor}\r\n" if view.cursor else ""
        writer.write(
            f"GET /api/v1/chats/{chat_id}/stream HTTP/1.1\r\nhost: chatd\r\n{cursor}\r\n".encode()
        )
        count = 0
        if most:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                assert b" 200 " in await reader.readline()
                async for event in events_of(reader):
                    view.apply(event)
                    count += 1
                    if count >= most or rests(view):
                        break
        if torn:
            with suppress(TimeoutError):
                await asyncio.wait_for(reader.read(7), 0.001)
        return count
    finally:
        at_once = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
        writer.transport.abort()


def rests(view: ChatView) -> bool:
    return view.status == "waiting" and len(view.messages) == 4


async def test_deltas_of_a_thousand_subscribers_equal_the_stored_message(dsn: str) -> None:
    dice = random.Random(SEED)
    places: dict[str, list[ChatView]] = {}
    room = asyncio.Semaphore(AT_ONCE)
    hangups = borrowed = 0

    async def look_on(chat_id: str) -> ChatView:
        nonlocal hangups, borrowed
        view = ChatView()
        async with room:
            if places[chat_id] and dice.random() < 0.5:
                view = copied(dice.choice(places[chat_id]))
                borrowed += 1
            while not rests(view):
                most = dice.choice([0, 1, 1, 2, 3, 8, 1000])
                replica = dice.choice(replicas)
                await glimpse(replica, chat_id, view, most, torn=dice.random() < 0.3)
                hangups += 1
                if view.cursor:
                    places[chat_id].append(copied(view))
        return view

    async def converse(number: int, chat_id: str) -> None:
        here = replicas[number % 2]
        await asyncio.sleep(dice.random() * 4)
        for turn in range(2):
            await here.api.send(chat_id, f"{number}-{turn}")

    async with running_daemons(dsn, [scripted(SPEECH), scripted(SPEECH)]) as replicas:
        ids = [(await replicas[0].api.create())["id"] for _ in range(CHATS)]
        places |= {chat_id: [] for chat_id in ids}
        async with asyncio.TaskGroup() as group:
            for number, chat_id in enumerate(ids):
                group.create_task(converse(number, chat_id))
            watching = [
                (chat_id, group.create_task(look_on(chat_id)))
                for _ in range(VIEWERS // CHATS)
                for chat_id in ids
            ]
        stored = {
            chat_id: {
                m["id"]: text_of(m["content"]) for m in await replicas[0].api.messages(chat_id)
            }
            for chat_id in ids
        }
        assert len(watching) == VIEWERS
        for chat_id, task in watching:
            view = task.result()
            assert view.messages == stored[chat_id], SEED
            assert view.preview == "", SEED
        assert hangups > VIEWERS, hangups
        assert borrowed > VIEWERS / 4, borrowed
        for replica in replicas:
            hub = replica.daemon.services.hub
            await eventually(
                lambda hub=hub: not hub._topics, describe=lambda hub=hub: f"{hub._topics}"
            )


class Moody:
    """Says what the message asks for: some words, and then it fails, or waits to be stopped."""

    def __init__(self) -> None:
        self.provider = FunctionProvider(self._act)
        self.hangs = 0

    async def _act(self, request: ModelRequest) -> AsyncIterator[Delta]:
        words = last_user_text(request)
        for number in range(4):
            yield text_delta(f"{words}/{number} ")
            await asyncio.sleep(0.01)
        if words.startswith("hang"):
            self.hangs += 1
            await asyncio.Event().wait()
        if words.startswith("fail"):
            raise ProviderError("no", status_code=400)
        yield finished()


async def live(chatd: InProcessDaemon, chat_id: str, moody: Moody) -> int:
    """Everything that happens to a chat: stops, queues, a failure, a new name. Its last version."""
    api = chatd.api
    path = f"/api/v1/chats/{chat_id}"
    await api.send(chat_id, "one")
    await api.wait_for_status(chat_id, "waiting")
    await api.send(chat_id, "hang one")
    await eventually(lambda: moody.hangs == 1)
    await api.send(chat_id, "two", busy_behavior="queue")
    await api.send(chat_id, "three", busy_behavior="queue")
    named = await api.http.patch(path, json={"title": "a new name", "labels": {"a": "b"}})
    assert named.status_code == 200, named.text
    await api.interrupt(chat_id)  # and on with what is queued
    await api.wait_for_status(chat_id, "waiting")
    await api.send(chat_id, "hang two")
    await eventually(lambda: moody.hangs == 2)
    await api.send(chat_id, "four", busy_behavior="interrupt")
    await api.wait_for_status(chat_id, "waiting")
    await api.send(chat_id, "fail")
    await api.wait_for_status(chat_id, "error")
    await api.send(chat_id, "five")
    return int((await api.wait_for_status(chat_id, "waiting"))["version"])


async def test_resume_from_any_cursor_of_an_eventful_chat_yields_the_rest(dsn: str) -> None:
    """Also those between two events of one move, and whichever replica showed it."""
    moody = Moody()
    replicas = running_daemons(
        dsn,
        [moody.provider] * 2,
        http={"sse_keepalive_seconds": 0.2},
        stream={"flush_interval_seconds": 0.01},
    )
    async with replicas as (here, there):
        chat_id = (await here.api.create())["id"]
        async with (
            background_subscriber(here, chat_id) as one,
            background_subscriber(there, chat_id) as two,
        ):
            version = await live(here, chat_id, moody)
            runs = [one.events, two.events]
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
        assert sum("+" in (run[number].id or "") for run, number in cursors) >= 10
        room = asyncio.Semaphore(40)

        async def resume(replica: InProcessDaemon, run: list[SseEvent], number: int) -> None:
            async with room:
                heard = await available_events(replica, chat_id, run[number].id)
            assert journal_events(heard) == journal_events(run[number + 1 :]), run[number].id

        async with asyncio.TaskGroup() as group:
            for run, number in cursors:
                for replica in (here, there):
                    group.create_task(resume(replica, run, number))


async def test_resume_after_an_edit_sends_nothing_superseded(dsn: str) -> None:
    """Not even to who was there when it was said: between its cursor and the reset, no word of it."""
    replicas = running_daemons(dsn, [scripted()] * 2, http={"sse_keepalive_seconds": 0.2})
    async with replicas as (here, there):
        chat = await here.api.create("old words", system_prompt="Be brief.")
        chat_id, path = chat["id"], f"/api/v1/chats/{chat['id']}"
        async with background_subscriber(here, chat_id) as watched:
            await here.api.wait_for_status(chat_id, "waiting")
            await here.api.send(chat_id, "more old words")
            await here.api.wait_for_status(chat_id, "waiting")
            asked_first = next(m for m in await here.api.messages(chat_id) if m["role"] == "user")
            answer = await here.api.http.patch(
                f"{path}/messages/{asked_first['id']}", json={"content": "other words"}
            )
            assert answer.status_code == 200, answer.text
            await here.api.wait_for_status(chat_id, "waiting")
            assert (await here.api.http.post(f"{path}/clear")).status_code == 200
            await eventually(lambda: kinds(watched.events).count("history_reset") == 2)
            await here.api.send(chat_id, "new words")
            version = (await here.api.wait_for_status(chat_id, "waiting"))["version"]
            await eventually(lambda: (watched.events[-1].id or "").startswith(f"{version}."))
        run = watched.events
        assert kinds(run).count("message") >= 7
        last_reset = max(n for n, kind in enumerate(kinds(run)) if kind == "history_reset")
        for number, seen in enumerate(run):
            rest = [
                event
                for later, event in enumerate(run[number + 1 :], number + 1)
                if event.event != "message" or later > last_reset
            ]
            heard = await available_events(here if number % 2 else there, chat_id, seen.id)
            assert journal_events(heard) == journal_events(rest), seen.id
            assert "old words" not in json.dumps([event.data for event in heard])


def kinds(events: list[SseEvent]) -> list[str]:
    return [event.event for event in events]
