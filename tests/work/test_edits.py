"""Edits, deletions and retries of chats that are being worked on, at any moment."""

import asyncio
import random
from contextlib import aclosing
from typing import Any

import pytest
from inside import Inside, one, scripted, several
from running import FACT_SECONDS, View, fact
from viewing import Following, following, listen

STREAMING = [
    {"reasoning": "Hm. ", "chunks": 2, "delay_seconds": 0.002},
    {"text": "You said: {message}, and I have much to say about it.", "chunks": 12,
     "delay_seconds": 0.003},
]  # fmt: skip
EDITORS, EDITS = 8, 25


async def edit_at_random(chatd: Inside, dice: random.Random) -> View:
    """Edit one chat again and again, each time after some more events of its stream were seen."""
    chat = await chatd.api.create("edit 0")
    view, left, number = View(), 0, 0
    async with aclosing(listen(chatd, chat["id"])) as events:
        async with asyncio.timeout(4 * FACT_SECONDS):
            while True:
                event = await anext(events)
                if event is None:
                    continue
                view.apply(event)
                left -= 1
                newest = max(view.messages, default=0)
                if number == EDITS:
                    if view.status == "waiting" and len(view.messages) == 2:
                        break
                elif newest and (left <= 0 or view.status == "waiting"):
                    number += 1
                    said = min(view.messages)
                    await chatd.api.edit(chat["id"], said, f"edit {number}")
                    left = dice.randrange(24)
                    await seen_reset(events, view)
    stored = await chatd.api.messages(chat["id"])
    assert [m["id"] for m in stored] == list(view.messages)
    assert list(view.messages.values()) == [
        f"edit {EDITS}",
        f"You said: edit {EDITS}, and I have much to say about it.",
    ]
    fresh = View()
    await chatd.api.follow(chat["id"], fresh, lambda v: v.status == "waiting")
    assert fresh.messages == view.messages
    return view


async def seen_reset(events: Any, view: View) -> None:
    """Go on until the stream shows the edit; nothing of the old branch may follow on it."""
    while True:
        event = await anext(events)
        if event is None:
            continue
        view.apply(event)
        if event.event == "history_reset":
            assert view.messages == {}
            assert view.preview == ""
            return


def begun(viewer: Following) -> bool:
    """Whether the model was heard: in the snapshot already, or since."""
    return any(e.event == "message_part" or e.data.get("parts") for e in viewer.heard)


@pytest.mark.slow
async def test_two_hundred_edits_of_running_turns(dsn: str) -> None:
    async with several(dsn, [scripted(STREAMING), scripted(STREAMING)]) as daemons:
        views = await asyncio.gather(
            *(edit_at_random(daemons[seed % 2], random.Random(seed)) for seed in range(EDITORS))
        )
        resets = sum(e.event == "history_reset" for view in views for e in view.events)
        assert resets == EDITORS * EDITS == 200
        fenced = [line for line in daemons[0].logs if line["event"] == "chat.lost"]
        assert fenced, "no edit met a turn that was running"
        assert {line["why"] for line in fenced} == {"edited"}


def told(viewer: Following) -> list[str]:
    """What a viewer heard of the history, in order."""
    return [e.event for e in viewer.heard if e.event in {"history_reset", "message"}]


async def test_an_edit_ends_the_call_it_fences(dsn: str) -> None:
    """The model is not asked on behalf of an answer that nobody wants any more."""
    provider = scripted(hang=[{"text": "I begin"}, {"hang": True}])
    async with one(dsn, provider) as chatd:
        chat = await chatd.api.create("[[hang]]")
        async with following(chatd, chat["id"]) as viewer:
            await fact(lambda: begun(viewer))
            (said,) = await chatd.api.messages(chat["id"])
            edited = await chatd.api.edit(chat["id"], said["id"], "be quick")
            assert edited["id"] > said["id"]
            await chatd.api.until(chat["id"], "waiting")
            await fact(lambda: provider.open == 0)
            await fact(lambda: told(viewer) == ["history_reset", "message", "message"])
        await chatd.says("chat.lost", chat_id=chat["id"], why="edited")
        turns = chatd.said("chat.turn", chat_id=chat["id"])
        assert sorted(turn["outcome"] for turn in turns) == ["finished", "lost"]


async def test_a_deleted_chat_stops_and_its_streams_end(dsn: str) -> None:
    """On the replica that works on it and on the one that shows it, by a hint and not by a poll."""
    provider = scripted(hang=[{"text": "I begin"}, {"hang": True}])
    async with several(dsn, [provider] * 2, worker={"poll_seconds": 60}) as (first, other):
        chat = await first.api.create("[[hang]]")
        path = f"/api/v1/chats/{chat['id']}"
        async with following(first, chat["id"]) as here, following(other, chat["id"]) as there:
            for viewer in (here, there):
                await fact(lambda v=viewer: begun(v))
            answer = await other.api.http.delete(path)
            assert (answer.status_code, answer.content) == (204, b"")
            for viewer in (here, there):
                await fact(viewer.task.done)
                assert viewer.heard[-1].event == "deleted"
                assert viewer.heard[-1].data == {"id": chat["id"]}
        await fact(lambda: provider.open == 0)
        await first.says("chat.lost", chat_id=chat["id"], why="deleted")
        for method in ("GET", "DELETE"):
            assert (await other.api.http.request(method, path)).status_code == 404
        assert (await other.api.http.get("/api/v1/chats")).json()["items"] == []


async def test_a_failed_turn_is_tried_again(dsn: str) -> None:
    attempts = [{"error": {"status": 400, "message": "no"}, "attempts": [1]}, {"text": "Fine."}]
    async with one(dsn, scripted(attempts)) as chatd:
        chat = await chatd.api.create("hello")
        failed = await chatd.api.until(chat["id"], "error")
        assert failed["last_error"]
        answer = await chatd.api.http.post(f"/api/v1/chats/{chat['id']}/retry")
        assert answer.status_code == 200
        assert (answer.json()["status"], answer.json()["last_error"]) == ("pending", None)
        await chatd.api.until(chat["id"], "waiting")
        assert await chatd.api.texts(chat["id"]) == ["Fine."]
        assert await chatd.api.texts(chat["id"], "user") == ["hello"]
        again = await chatd.api.http.post(f"/api/v1/chats/{chat['id']}/retry")
        assert (again.status_code, again.json()["code"]) == (409, "nothing_to_retry")


async def test_a_promoted_message_stops_the_turn_and_comes_next(dsn: str) -> None:
    async with one(dsn, scripted(hang=[{"text": "I begin"}, {"hang": True}])) as chatd:
        chat = await chatd.api.create("[[hang]]")
        await chatd.api.follow(chat["id"], View(), lambda v: bool(v.preview))
        for words in ("first", "second"):
            await chatd.api.send(chat["id"], words)
        path = f"/api/v1/chats/{chat['id']}/queue"
        first, second = (await chatd.api.http.get(path)).json()["items"]
        promoted = await chatd.api.http.post(f"{path}/{second['id']}/promote")
        assert promoted.json()["status"] == "interrupting"
        await chatd.api.until(chat["id"], "waiting")
        assert await chatd.api.texts(chat["id"], "user") == ["[[hang]]", "second", "first"]
        assert (await chatd.api.texts(chat["id"]))[0] == "I begin"
        gone = await chatd.api.http.delete(f"{path}/{first['id']}")
        assert (gone.status_code, gone.json()["code"]) == (404, "queued_message_not_found")
