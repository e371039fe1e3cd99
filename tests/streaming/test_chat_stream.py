"""The stream of a chat, by itself: no protocol, and the store that it reads."""

import gc
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from uuid import UUID, uuid4

import anyio
import pytest
from support.eventually import TIMEOUT_SECONDS
from support.factories import MODEL, OWNER, chat_with_status, insert_models, text_content
from support.sweeps import delete_expired
from support.transitions import make_transition

from chatd.domain.chat import Chat, Status
from chatd.domain.cursor import Cursor
from chatd.domain.errors import ChatNotFound, ChatUnreadable
from chatd.domain.journal import JournalEntry
from chatd.domain.message import Part
from chatd.domain.outcomes import StreamEndReason
from chatd.domain.snapshot import ChatSnapshot
from chatd.domain.stream_events import StreamEvent, StreamEventType
from chatd.domain.transitions import Transition
from chatd.fanout.hub import ChatHub
from chatd.store.chats import Chats
from chatd.store.database import Database
from chatd.store.stream_reads import PartBatch, StreamStore
from chatd.store.sweeps import JOURNAL
from chatd.streaming.chat_poller import ChatStreamPoller
from chatd.streaming.chat_stream import ChatStream, subscribe_to_chat

Batches = AsyncGenerator[Sequence[StreamEvent], None]
LONG_SECONDS = 60.0
"""An idle time that no test waits out."""


def deltas(*words: str) -> tuple[Part, ...]:
    return tuple({"index": 0, "type": "text", "text": word} for word in words)


def chat_hub(*, subscriber_buffer: int = 100) -> ChatHub:
    return ChatHub(subscriber_buffer=subscriber_buffer)


@asynccontextmanager
async def opened(
    hub: ChatHub,
    database: Database,
    chat_id: UUID,
    cursor: object = None,
    *,
    idle_seconds: float = LONG_SECONDS,
) -> AsyncIterator[tuple[ChatStream, Batches]]:
    with subscribe_to_chat(hub, StreamStore(database), chat_id) as stream:
        await stream.open(None if cursor is None else str(cursor), owner_id=OWNER)
        async with aclosing(stream.events(idle_seconds=idle_seconds)) as batches:
            with anyio.fail_after(TIMEOUT_SECONDS):
                yield stream, batches


async def rename(database: Database, chat: Chat, title: str) -> JournalEntry:
    result = await Chats(database).describe(chat.id, owner_id=OWNER, title=title)
    assert result.entry is not None
    return result.entry


async def events_since(
    hub: ChatHub, database: Database, chat: Chat, cursor: Cursor, *, count: int
) -> list[StreamEvent]:
    """Return the next events after a cursor. The poller reads those that were not published to the hub."""
    events: list[StreamEvent] = []
    async with opened(hub, database, chat.id, cursor) as (_, batches):
        while len(events) < count:
            events += await anext(batches)
    return events


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


# -- the end -----------------------------------------------------------------------------------------


async def test_deleted_chat_ends_the_stream(database: Database) -> None:
    chat = await chat_with_status(database, Status.WAITING)
    hub = chat_hub()
    async with opened(hub, database, chat.id) as (stream, batches):
        await anext(batches)
        hub.mark_deleted(chat.id)
        assert [batch async for batch in batches] == []
        assert stream.end_reason is StreamEndReason.CHAT_DELETED
        assert stream.final_event == StreamEvent(StreamEventType.DELETED, {"id": chat.id})


async def test_slow_consumer_ends_the_stream_and_resumes(database: Database) -> None:
    chat = await chat_with_status(database, Status.WAITING)
    hub = chat_hub(subscriber_buffer=2)
    async with opened(hub, database, chat.id) as (stream, batches):
        [snapshot] = await anext(batches)
        for title in "abc":
            hub.publish(await rename(database, chat, title))
        assert [batch async for batch in batches] == []
        assert stream.end_reason is StreamEndReason.SLOW_CONSUMER
        assert stream.final_event is None
    assert isinstance(snapshot.cursor, Cursor)
    events = await events_since(hub, database, chat, snapshot.cursor, count=3)
    assert [event.data["title"] for event in events if isinstance(event.data, dict)] == [*"abc"]


async def test_draining_process_ends_the_stream_after_its_last_events(database: Database) -> None:
    chat = await chat_with_status(database, Status.WAITING)
    hub = chat_hub()
    async with opened(hub, database, chat.id) as (stream, batches):
        await anext(batches)
        hub.publish(await rename(database, chat, "last"))
        hub.drain()
        [last] = [batch async for batch in batches]
        assert [event.type for event in last] == [StreamEventType.CHAT]
        assert stream.end_reason is StreamEndReason.DRAINING
        assert stream.final_event == StreamEvent(StreamEventType.DRAINING, {})


@pytest.mark.parametrize("reason", [StreamEndReason.REVOKED, StreamEndReason.CLIENT_DISCONNECTED])
async def test_stream_ended_from_outside_keeps_the_first_reason(
    database: Database, reason: StreamEndReason
) -> None:
    chat = await chat_with_status(database, Status.WAITING)
    hub = chat_hub()
    async with opened(hub, database, chat.id) as (stream, batches):
        await anext(batches)
        stream.end(reason)
        stream.end(StreamEndReason.CLIENT_DISCONNECTED)
        hub.drain()
        assert [batch async for batch in batches] == []
        assert stream.end_reason is reason
        assert stream.final_event is None


async def test_journal_pruned_below_a_subscriber_aborts_its_stream(database: Database) -> None:
    chat = await chat_with_status(database, Status.WAITING)
    hub = chat_hub()
    poller = ChatStreamPoller(hub, StreamStore(database), poll_seconds=LONG_SECONDS)
    async with opened(hub, database, chat.id) as (stream, batches):
        await anext(batches)
        for title in "ab":
            entry = await rename(database, chat, title)
        await database.fetch(
            "DELETE FROM chat_events WHERE chat_id = $1 AND version < $2", chat.id, entry.version
        )
        hub.handle_hint(chat.id, entry.version)
        await poller.step()
        assert [batch async for batch in batches] == []
        assert stream.end_reason is StreamEndReason.ABORTED


async def test_idle_stream_yields_an_empty_batch(database: Database) -> None:
    chat = await chat_with_status(database, Status.WAITING)
    async with opened(chat_hub(), database, chat.id, idle_seconds=0.01) as (_, batches):
        await anext(batches)
        assert len(await anext(batches)) == 0


ADD_UNREADABLE_ENTRY = """
WITH changed AS (UPDATE chats SET version = version + 1 WHERE id = $1 RETURNING *)
INSERT INTO chat_events (chat_id, version, transition, status, epoch, data)
SELECT id, version, 'send', status, epoch, '{"messages": 5}' FROM changed RETURNING version
"""


async def test_chat_that_opens_and_then_fails_again_is_refused(database: Database) -> None:
    """Its subscribers resume once. Without the refusal they would open it again and again."""
    hub = chat_hub()
    poller = ChatStreamPoller(hub, StreamStore(database), poll_seconds=LONG_SECONDS)
    chat, neighbour = [await chat_with_status(database, Status.WAITING) for _ in range(2)]
    async with opened(hub, database, neighbour.id) as (_, neighbours_batches):
        await anext(neighbours_batches)
        for _ in range(2):
            async with opened(hub, database, chat.id) as (stream, batches):
                await anext(batches)
                [row] = await database.fetch(ADD_UNREADABLE_ENTRY, chat.id)
                hub.handle_hint(chat.id, row["version"])
                await poller.step()
                with pytest.raises(StopAsyncIteration):
                    await anext(batches)
                assert stream.end_reason is StreamEndReason.UNREADABLE
        with pytest.raises(ChatUnreadable):
            async with opened(hub, database, chat.id):
                pass
        entry = await rename(database, neighbour, "goes on")
        hub.handle_hint(neighbour.id, entry.version)
        await poller.step()
        assert [event.type for event in await anext(neighbours_batches)] == [StreamEventType.CHAT]
