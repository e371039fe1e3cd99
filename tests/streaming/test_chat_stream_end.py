"""The end of a chat's stream, and what ends it."""

import pytest
from support.chat_streams import LONG_SECONDS, chat_hub, events_since, opened, rename
from support.factories import chat_with_status

from chatd.domain.chat import Status
from chatd.domain.cursor import Cursor
from chatd.domain.errors import ChatUnreadable
from chatd.domain.outcomes import StreamEndReason
from chatd.domain.stream_events import StreamEvent, StreamEventType
from chatd.store.database import Database
from chatd.store.stream_reads import StreamStore
from chatd.streaming.chat_poller import ChatStreamPoller


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
