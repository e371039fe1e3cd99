"""Edits, deletions and retries of running chats, at any moment."""

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from uuid import UUID

import pytest
from support.eventually import TIMEOUT_SECONDS, eventually
from support.in_process import (
    NO_RENEWALS,
    InProcessDaemon,
    fetch_rows,
    running_daemon,
    running_daemons,
)
from support.providers import scripted
from support.sse_client import ChatView, SseEvent
from support.streams import BackgroundSubscriber, background_subscriber, chat_stream_events
from support.trials import trials

from chatd.store.database import Database

STREAMING = [
    {"reasoning": "Hm. ", "chunks": 2, "delay_seconds": 0.002},
    {"text": "You said: {message}, and I have much to say about it.", "chunks": 12,
     "delay_seconds": 0.003},
]  # fmt: skip
EDITORS, EDITS = 8, trials(10)

FENCED = """
    SELECT count(*) FROM (
        SELECT transition, lag(status) OVER (ORDER BY version) AS before FROM chat_events WHERE chat_id = $1
    ) entries WHERE transition = 'edit' AND before = 'running'
"""
"""Number of edits that fenced a running turn, by the journal."""


async def fenced(database: Database, chat_id: str) -> int:
    return int((await fetch_rows(database, FENCED, UUID(chat_id)))[0]["count"])


def answer_to(words: str) -> str:
    return f"You said: {words}, and I have much to say about it."


@dataclass
class Editor:
    """Client that follows and edits a chat, and checks that no part of an old branch is streamed."""

    chatd: InProcessDaemon
    chat_id: str
    events: AsyncGenerator[SseEvent | None]
    rng: random.Random
    said: str
    """User message that is being answered."""
    view: ChatView = field(default_factory=ChatView)
    seen: set[int] = field(default_factory=set)
    """Ids of all messages that were streamed."""
    gone: set[int] = field(default_factory=set)
    """Ids of messages that an edit superseded."""
    edits: int = 0
    later: int = 0
    """Number of edits of a message other than the first."""

    async def hear(self) -> SseEvent:
        event = None
        while event is None:
            event = await anext(self.events)
        self.view.apply(event)
        self.seen |= self.view.messages.keys()
        assert not self.gone & self.view.messages.keys(), "a message of an old branch"
        assert answer_to(self.said).startswith(self.view.preview), "parts of an old branch"
        return event

    async def until(self, *statuses: str) -> None:
        while self.view.status not in statuses:
            await self.hear()

    async def while_running(self, limit: int) -> None:
        """Receive ``limit`` events, or fewer if the turn ends before."""
        for _ in range(limit):
            if self.view.status == "running":
                await self.hear()

    async def say(self, words: str) -> None:
        """Send another message to an idle chat."""
        self.said = words
        await self.chatd.api.send(self.chat_id, words)
        await self._see_it()

    async def edit(self) -> None:
        """Edit a random message. Nothing of the old branch may be there afterwards."""
        mine = list(self.view.messages)[::2]
        old, words = self.rng.choice(mine), f"edit {self.edits}"
        self.edits += 1
        self.later += old != mine[0]
        new = (await self.chatd.api.edit(self.chat_id, old, words))["id"]
        stored = [m["id"] for m in await self.chatd.api.messages(self.chat_id)]
        assert next(n for n in stored if n >= old) == new, "a row of the old branch"
        while (event := await self.hear()).event != "history_reset":
            pass
        assert event.data == {"from_message_id": old}
        self.gone |= {n for n in self.seen if n >= old}
        self.said = words
        await self._see_it()
        assert max(self.view.messages) == new

    async def _see_it(self) -> None:
        """Receive until the status event, which is the last event of a transition."""
        while (await self.hear()).event != "status":
            pass
        assert list(self.view.messages.values())[-1] == self.said


async def edit_at_random(chatd: InProcessDaemon, database: Database, rng: random.Random) -> Editor:
    """Edit one chat repeatedly, each time after some events of a running turn.

    A turn that came to its end meanwhile is followed by another one, so there is more to edit.
    """
    chat_id = (await chatd.api.create("0"))["id"]
    async with (
        aclosing(chat_stream_events(chatd, chat_id)) as events,
        asyncio.timeout(4 * TIMEOUT_SECONDS),
    ):
        editor = Editor(chatd, chat_id, events, rng, said="0")
        view = editor.view
        for words in ("1", "2"):
            await editor.until("waiting")
            await editor.say(words)
        while await fenced(database, chat_id) < EDITS:
            await editor.until("running", "waiting")
            await editor.while_running(rng.randrange(16))
            if view.status == "running":
                await editor.edit()
            elif view.status == "waiting":
                await editor.say(f"more {editor.edits}")
        await editor.until("waiting")
    stored = await chatd.api.messages(chat_id)
    assert [m["id"] for m in stored] == list(view.messages)
    texts = list(view.messages.values())
    assert texts[1::2] == [answer_to(words) for words in texts[::2]]
    assert texts[-2] == editor.said
    fresh = ChatView()
    await chatd.api.follow(chat_id, fresh, lambda v: v.status == "waiting")
    assert fresh.messages == view.messages
    return editor


def begun(viewer: BackgroundSubscriber) -> bool:
    """Return True if the subscriber received parts of the response, in the snapshot or since."""
    return any(e.event == "message_part" or e.data.get("parts") for e in viewer.events)


@pytest.mark.slow
async def test_edits_of_running_turns(dsn: str, database: Database) -> None:
    """An edit that comes too late, when the turn is over, does not count."""
    async with running_daemons(dsn, [scripted(STREAMING), scripted(STREAMING)]) as daemons:
        editors = await asyncio.gather(
            *(
                edit_at_random(daemons[seed % 2], database, random.Random(seed))
                for seed in range(EDITORS)
            )
        )
        for editor in editors:
            resets = sum(event.event == "history_reset" for event in editor.view.events)
            assert resets == editor.edits
        assert any(editor.later for editor in editors), "only first messages were edited"
        counted = [await fenced(database, editor.chat_id) for editor in editors]
        assert sum(counted) == EDITORS * EDITS
        lost = [line for line in daemons[0].logs if line["event"] == "chat.lost"]
        assert {line["reason"] for line in lost} == {"edited"}


def told(viewer: BackgroundSubscriber) -> list[str]:
    """Return the history as the subscriber received it, in order."""
    return [e.event for e in viewer.events if e.event in {"history_reset", "message"}]


async def test_edit_cancels_the_fenced_model_call(dsn: str) -> None:
    """The model call of a superseded message ends at once."""
    provider = scripted(hang=[{"text": "I begin"}, {"hang": True}])
    async with running_daemon(dsn, provider) as chatd:
        chat = await chatd.api.create("[[hang]]")
        async with background_subscriber(chatd, chat["id"]) as viewer:
            await eventually(lambda: begun(viewer))
            (said,) = await chatd.api.messages(chat["id"])
            edited = await chatd.api.edit(chat["id"], said["id"], "be quick")
            assert edited["id"] > said["id"]
            await chatd.api.wait_for_status(chat["id"], "waiting")
            await eventually(lambda: provider.open_streams == 0)
            await eventually(lambda: told(viewer) == ["history_reset", "message", "message"])
        await chatd.wait_for_log("chat.lost", chat_id=chat["id"], reason="edited")
        turns = chatd.logged("chat.turn", chat_id=chat["id"])
        assert sorted(turn["outcome"] for turn in turns) == ["finished", "lost"]


async def test_deleted_chat_stops_and_its_streams_end(dsn: str) -> None:
    """On the worker and on another replica with a stream, by a hint and not by a poll."""
    provider = scripted(hang=[{"text": "I begin"}, {"hang": True}])
    async with running_daemons(dsn, [provider] * 2, worker={"poll_seconds": 60}) as (first, other):
        chat = await first.api.create("[[hang]]")
        path = f"/api/v1/chats/{chat['id']}"
        async with (
            background_subscriber(first, chat["id"]) as here,
            background_subscriber(other, chat["id"]) as there,
        ):
            for viewer in (here, there):
                await eventually(lambda v=viewer: begun(v))
            answer = await other.api.http.delete(path)
            assert (answer.status_code, answer.content) == (204, b"")
            for viewer in (here, there):
                await eventually(viewer.task.done)
                assert viewer.events[-1].event == "deleted"
                assert viewer.events[-1].data == {"id": chat["id"]}
        await eventually(lambda: provider.open_streams == 0)
        await first.wait_for_log("chat.lost", chat_id=chat["id"], reason="deleted")
        for method in ("GET", "DELETE"):
            assert (await other.api.http.request(method, path)).status_code == 404
        assert (await other.api.http.get("/api/v1/chats")).json()["items"] == []


async def test_retry_runs_a_failed_turn_again(dsn: str) -> None:
    attempts = [{"error": {"status": 400, "message": "no"}, "attempts": [1]}, {"text": "Fine."}]
    async with running_daemon(dsn, scripted(attempts)) as chatd:
        chat = await chatd.api.create("hello")
        failed = await chatd.api.wait_for_status(chat["id"], "error")
        assert failed["last_error"]
        answer = await chatd.api.http.post(f"/api/v1/chats/{chat['id']}/retry")
        assert answer.status_code == 200
        assert (answer.json()["status"], answer.json()["last_error"]) == ("pending", None)
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert await chatd.api.texts(chat["id"]) == ["Fine."]
        assert await chatd.api.texts(chat["id"], "user") == ["hello"]
        again = await chatd.api.http.post(f"/api/v1/chats/{chat['id']}/retry")
        assert (again.status_code, again.json()["code"]) == (409, "nothing_to_retry")


async def test_promoted_message_interrupts_the_turn_and_is_answered_next(dsn: str) -> None:
    async with running_daemon(dsn, scripted(hang=[{"text": "I begin"}, {"hang": True}])) as chatd:
        chat = await chatd.api.create("[[hang]]")
        await chatd.api.follow(chat["id"], ChatView(), lambda v: bool(v.preview))
        for words in ("first", "second"):
            await chatd.api.send(chat["id"], words)
        path = f"/api/v1/chats/{chat['id']}/queue"
        first, second = (await chatd.api.http.get(path)).json()["items"]
        promoted = await chatd.api.http.post(f"{path}/{second['id']}/promote")
        assert promoted.json()["status"] == "interrupting"
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert await chatd.api.texts(chat["id"], "user") == ["[[hang]]", "second", "first"]
        assert (await chatd.api.texts(chat["id"]))[0] == "I begin"
        gone = await chatd.api.http.delete(f"{path}/{first['id']}")
        assert (gone.status_code, gone.json()["code"]) == (404, "queued_message_not_found")


async def test_reclaimed_chat_cancels_its_fenced_task_at_once(dsn: str) -> None:
    """Neither the heartbeat nor a hint takes part: the claim itself cancels the old task."""
    provider = scripted(hang=[{"text": "I begin"}, {"hang": True}])
    async with running_daemon(dsn, provider, worker=NO_RENEWALS) as chatd:
        chatd.daemon.chat_tasks.on_lease_in_doubt = lambda: None
        chat = await chatd.api.create("[[hang]] one")
        await eventually(lambda: provider.open_streams)
        (message,) = await chatd.api.messages(chat["id"])
        await chatd.api.edit(chat["id"], message["id"], "[[hang]] two")
        await eventually(lambda: provider.calls == 2)
        await eventually(lambda: provider.open_streams == 1)
        await chatd.wait_for_log("chat.lost", chat_id=chat["id"], reason="edited")
