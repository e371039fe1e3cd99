"""The stream of a chat, by itself: no protocol, and the store that it reads."""

import gc
from contextlib import aclosing
from uuid import uuid4

import pytest
from support.chat_streams import (
    LONG_SECONDS,
    chat_hub,
    deltas,
    events_since,
    opened,
    rename,
)
from support.factories import MODEL, OWNER, chat_with_status, insert_models, text_content
from support.sweeps import delete_expired
from support.transitions import make_transition

from chatd.domain.chat import Status
from chatd.domain.cursor import Cursor
from chatd.domain.errors import ChatNotFound
from chatd.domain.snapshot import ChatSnapshot
from chatd.domain.stream_events import StreamEventType
from chatd.domain.transitions import Transition
from chatd.store.chats import Chats
from chatd.store.database import Database
from chatd.store.stream_reads import PartBatch, StreamStore
from chatd.store.sweeps import JOURNAL
from chatd.streaming.chat_poller import ChatStreamPoller
from chatd.streaming.chat_stream import subscribe_to_chat

# -- what a stream begins with -----------------------------------------------------------------------


async def test_stream_without_cursor_begins_with_a_snapshot(database: Database) -> None:
    chat = await chat_with_status(database, Status.RUNNING, queued=2)
    await StreamStore(database).flush_parts([PartBatch(chat.id, 1, 1, deltas("a", "b"))])
    async with opened(chat_hub(), database, chat.id) as (_, batches):
        [event] = await anext(batches)
    assert event.type is StreamEventType.SNAPSHOT
    assert event.cursor == Cursor(chat.version, chat.epoch, 2)
    assert isinstance(event.data, ChatSnapshot)
    assert event.data.chat == chat
    assert [message.content for message in event.data.messages] == [text_content("hello")]
    assert len(event.data.queue) == 2
    assert tuple(event.data.parts) == deltas("a", "b")
    assert event.data.action_required is None


async def test_idle_stream_does_not_hold_its_snapshot(database: Database) -> None:
    chat = await chat_with_status(database, Status.WAITING)
    async with opened(chat_hub(), database, chat.id, idle_seconds=0.01) as (_, batches):
        (snapshot,) = await anext(batches)
        assert snapshot.type is StreamEventType.SNAPSHOT
        del snapshot
        assert await anext(batches) == ()
        assert not [found for found in gc.get_objects() if isinstance(found, ChatSnapshot)]


async def test_snapshot_tells_the_tool_calls_that_wait_for_the_client(database: Database) -> None:
    chat = await chat_with_status(database, Status.REQUIRES_ACTION)
    async with opened(chat_hub(), database, chat.id) as (_, batches):
        [event] = await anext(batches)
    assert isinstance(event.data, ChatSnapshot)
    action = event.data.action_required
    assert action is not None
    assert action["deadline"] == chat.action_deadline
    assert [call["tool_call_id"] for call in action["calls"]] == ["c2", "c1", "c3"]


@pytest.mark.parametrize(("owner_id", "is_found"), [(OWNER, True), (None, True), ("bob", False)])
async def test_stream_of_another_owners_chat_is_not_found(
    database: Database, owner_id: str | None, is_found: bool
) -> None:
    chat = await chat_with_status(database, Status.WAITING)
    for cursor in (None, str(Cursor(chat.version))):
        with subscribe_to_chat(hub := chat_hub(), StreamStore(database), chat.id) as stream:
            if is_found:
                await stream.open(cursor, owner_id=owner_id)
            else:
                with pytest.raises(ChatNotFound):
                    await stream.open(cursor, owner_id=owner_id)
        assert hub.subscriber_count == 0


async def test_stream_of_an_unknown_chat_is_not_found(database: Database) -> None:
    with (
        subscribe_to_chat(chat_hub(), StreamStore(database), uuid4()) as stream,
        pytest.raises(ChatNotFound),
    ):
        await stream.open(None, owner_id=None)


@pytest.mark.parametrize("cursor", ["", "no cursor", "99.0.0", "1.9.0", "1.0.0.0"])
async def test_cursor_that_cannot_be_resumed_resets_the_stream(
    database: Database, cursor: str
) -> None:
    chat = await chat_with_status(database, Status.WAITING)
    async with opened(chat_hub(), database, chat.id, cursor) as (_, batches):
        reset, snapshot = await anext(batches)
    assert (reset.type, reset.cursor) == (StreamEventType.RESET, None)
    assert snapshot.type is StreamEventType.SNAPSHOT


async def test_cursor_before_the_pruned_journal_resets_the_stream(database: Database) -> None:
    chat = await chat_with_status(database, Status.WAITING)
    for title in "abc":
        await rename(database, chat, title)
    await database.fetch(
        "DELETE FROM chat_events WHERE chat_id = $1 AND version < $2", chat.id, chat.version + 3
    )
    async with opened(chat_hub(), database, chat.id, Cursor(chat.version)) as (_, batches):
        assert [event.type for event in await anext(batches)] == [
            StreamEventType.RESET,
            StreamEventType.SNAPSHOT,
        ]


async def test_gap_in_the_journal_resets_the_stream_once(database: Database) -> None:
    """An operator removed an entry. The snapshot that follows holds everything, so nothing more is read."""
    chat = await chat_with_status(database, Status.WAITING)
    for title in "abc":
        await rename(database, chat, title)
    await database.fetch("DELETE FROM chat_events WHERE version = $1", chat.version + 2)
    async with opened(
        chat_hub(), database, chat.id, Cursor(chat.version + 1), idle_seconds=0.01
    ) as (_, batches):
        before = database.statement_count
        assert [event.type for event in await anext(batches)] == [
            StreamEventType.RESET,
            StreamEventType.SNAPSHOT,
        ]
        assert await anext(batches) == ()
        assert database.statement_count == before


# -- resuming ----------------------------------------------------------------------------------------


async def test_resume_after_each_event_yields_exactly_the_rest(database: Database) -> None:
    """Also in the middle of an entry that makes several events, and among live parts."""
    await insert_models(database)
    chats = Chats(database)
    created = await chats.create(
        owner_id=OWNER, model_config_id=MODEL, content=text_content("hello"), title="a"
    )
    chat = created.chat
    await rename(database, chat, "b")
    await chats.send(chat.id, owner_id=OWNER, content=text_content("queued"))
    await chats.interrupt(chat.id, owner_id=OWNER)
    claimed = await make_transition(database, Transition.CLAIM, None, chat)
    await StreamStore(database).flush_parts([PartBatch(chat.id, 1, 1, deltas("x", "y", "z"))])
    hub = chat_hub()
    start = Cursor(0)
    async with opened(hub, database, chat.id, start) as (_, batches):
        every = list(await anext(batches))
        every += await anext(batches)
    assert {event.type for event in every} >= {
        StreamEventType.MESSAGE,
        StreamEventType.STATUS,
        StreamEventType.CHAT,
        StreamEventType.QUEUE_UPDATE,
        StreamEventType.MESSAGE_PART,
    }
    assert every[-1].cursor == Cursor(claimed.chat.version, 1, 3)
    for number, event in enumerate(every):
        rest = every[number + 1 :]
        assert isinstance(event.cursor, Cursor)
        found = await events_since(hub, database, chat, event.cursor, count=len(rest))
        assert found == rest, event.cursor
    assert hub.subscriber_count == 0


async def test_changes_between_subscribing_and_opening_are_sent_once(database: Database) -> None:
    chat = await chat_with_status(database, Status.WAITING)
    hub = chat_hub()
    with subscribe_to_chat(hub, StreamStore(database), chat.id) as stream:
        hub.publish(await rename(database, chat, "before"))
        await stream.open(None, owner_id=OWNER)
        async with aclosing(stream.events(idle_seconds=LONG_SECONDS)) as batches:
            [snapshot] = await anext(batches)
            assert isinstance(snapshot.data, ChatSnapshot)
            assert snapshot.data.chat.title == "before"
            hub.publish(await rename(database, chat, "after"))
            [event] = await anext(batches)
    assert event.type is StreamEventType.CHAT
    assert isinstance(event.data, dict)
    assert event.data["title"] == "after"


async def test_changes_of_another_process_are_read_by_the_poller(database: Database) -> None:
    chat = await chat_with_status(database, Status.WAITING)
    hub = chat_hub()
    poller = ChatStreamPoller(hub, StreamStore(database), poll_seconds=LONG_SECONDS)
    async with opened(hub, database, chat.id) as (_, batches):
        await anext(batches)
        entry = await rename(database, chat, "elsewhere")
        hub.handle_hint(chat.id, entry.version)
        await poller.step()
        [event] = await anext(batches)
    assert event.cursor == Cursor(entry.version, chat.epoch)


async def test_idle_chat_is_resumed_after_its_whole_journal_was_deleted(database: Database) -> None:
    """No entry has to stay: the version of the chat is where its streams go on."""
    chat = await chat_with_status(database, Status.WAITING)
    entry = await rename(database, chat, "long ago")
    assert await delete_expired(database, JOURNAL, retention_seconds=0.0) == 1
    hub = chat_hub()
    poller = ChatStreamPoller(hub, StreamStore(database), poll_seconds=LONG_SECONDS)
    async with opened(hub, database, chat.id, Cursor(entry.version)) as (_, batches):
        hub.handle_hint(chat.id, (await rename(database, chat, "now")).version)
        await poller.step()
        [event] = await anext(batches)
    assert event.type is StreamEventType.CHAT, "and no reset"
    async with opened(hub, database, chat.id) as (_, batches):
        [snapshot] = await anext(batches)
    assert isinstance(snapshot.data, ChatSnapshot)
