"""The stream of a list of chats, by itself: no protocol, and the store that it reads."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta
from functools import partialmethod
from typing import Any

import anyio
import pytest
from support.eventually import TIMEOUT_SECONDS
from support.factories import MODEL, OWNER, insert_models

from chatd.domain.chat import Chat
from chatd.domain.chat_list import ChangeBatch, ListQuery, decode_cursor
from chatd.domain.errors import DatabaseUnavailable
from chatd.domain.hint import RESYNC
from chatd.domain.outcomes import StreamEndReason
from chatd.domain.snapshot import ChatListSnapshot
from chatd.domain.stream_events import StreamEvent, StreamEventType
from chatd.fanout.list_hub import ListHub
from chatd.store.chat_lists import ChatLists
from chatd.store.chats import Chats
from chatd.store.database import Database
from chatd.streaming.list_poller import ChatListPoller
from chatd.streaming.list_stream import SNAPSHOT_SIZE, ChatListStream, subscribe_to_list

Batches = AsyncGenerator[Sequence[StreamEvent], None]
LONG_SECONDS = 60.0
"""An idle time that no test waits out."""


def list_hub(*, overlap_seconds: float = 15.0, subscriber_buffer: int = 100) -> ListHub:
    return ListHub(overlap_seconds=overlap_seconds, subscriber_buffer=subscriber_buffer)


@asynccontextmanager
async def opened(
    hub: ListHub,
    database: Database,
    cursor: object = None,
    *,
    retention: timedelta = timedelta(days=7),
    is_draining: bool = False,
) -> AsyncIterator[tuple[ChatListStream, Batches]]:
    lists = ChatLists(database)
    with subscribe_to_list(
        hub, lists, OWNER, retention=retention, archived=False, is_draining=lambda: is_draining
    ) as stream:
        await stream.open(None if cursor is None else str(cursor))
        async with aclosing(stream.events(idle_seconds=LONG_SECONDS)) as batches:
            with anyio.fail_after(TIMEOUT_SECONDS):
                yield stream, batches


async def create(database: Database, title: str, owner_id: str = OWNER) -> Chat:
    await insert_models(database)
    created = await Chats(database).create(owner_id=owner_id, model_config_id=MODEL, title=title)
    return created.chat


async def rename(database: Database, chat: Chat, title: str) -> None:
    await Chats(database).describe(chat.id, owner_id=OWNER, title=title)


def titles(events: Sequence[StreamEvent]) -> list[str]:
    return [event.data.title for event in events if isinstance(event.data, Chat)]


async def test_stream_without_cursor_begins_with_the_newest_chats(database: Database) -> None:
    for number in range(SNAPSHOT_SIZE):
        await create(database, str(number))
    await create(database, "bob's", owner_id="bob")
    async with opened(list_hub(), database) as (_, batches):
        [event] = await anext(batches)
    assert event.type is StreamEventType.SNAPSHOT
    assert event.cursor is not None
    assert isinstance(event.data, ChatListSnapshot)
    assert [chat.title for chat in event.data.chats] == [
        str(number) for number in reversed(range(SNAPSHOT_SIZE))
    ]
    assert not event.data.has_more
    await create(database, "one more")
    async with opened(list_hub(), database) as (_, batches):
        [event] = await anext(batches)
    assert isinstance(event.data, ChatListSnapshot)
    assert len(event.data.chats) == SNAPSHOT_SIZE
    assert event.data.has_more


async def test_changed_and_deleted_chats_are_sent_once(database: Database) -> None:
    kept, deleted = await create(database, "kept"), await create(database, "deleted")
    hub = list_hub()
    poller = ChatListPoller(hub, ChatLists(database), poll_seconds=LONG_SECONDS)
    async with opened(hub, database) as (_, batches):
        await anext(batches)
        await rename(database, kept, "renamed")
        await Chats(database).delete(deleted.id, owner_id=OWNER)
        await create(database, "bob's", owner_id="bob")
        hub.handle_hint(RESYNC)
        await poller.step()
        changed, gone = await anext(batches)
        hub.handle_hint(RESYNC)
        await poller.step()
        await rename(database, kept, "renamed again")
        hub.handle_hint(RESYNC)
        await poller.step()
        [again] = await anext(batches)
    assert titles([changed, again]) == ["renamed", "renamed again"]
    assert (gone.type, gone.data) == (StreamEventType.DELETED, {"id": deleted.id})
    assert changed.cursor is None, "only the last event of a read can be resumed from"
    assert None not in (gone.cursor, again.cursor)


async def test_resume_sends_what_changed_since_the_cursor(database: Database) -> None:
    first, second = await create(database, "first"), await create(database, "second")
    async with opened(list_hub(overlap_seconds=0.0), database) as (_, batches):
        [snapshot] = await anext(batches)
    await rename(database, second, "second renamed")
    await rename(database, first, "first renamed")
    async with opened(list_hub(overlap_seconds=0.0), database, snapshot.cursor) as (_, batches):
        missed = await anext(batches)
    assert titles(missed) == ["second renamed", "first renamed"]
    async with opened(list_hub(), database, missed[-1].cursor) as (_, batches):
        repeated = await anext(batches)
    assert {event.data.id for event in repeated if isinstance(event.data, Chat)} <= {
        first.id,
        second.id,
    }, "what comes twice is a chat that the overlap covers"


@pytest.mark.parametrize("cursor", ["", "no cursor", "-1", "1", "9" * 18])
async def test_cursor_that_cannot_be_resumed_resets_the_stream(
    database: Database, cursor: str
) -> None:
    async with opened(list_hub(), database, cursor) as (_, batches):
        reset, snapshot = await anext(batches)
    assert (reset.type, reset.cursor) == (StreamEventType.RESET, None)
    assert snapshot.type is StreamEventType.SNAPSHOT


async def test_cursor_older_than_the_retention_resets_the_stream(database: Database) -> None:
    async with opened(list_hub(), database) as (_, batches):
        [snapshot] = await anext(batches)
    async with opened(list_hub(), database, snapshot.cursor, retention=timedelta(0)) as (
        _,
        batches,
    ):
        assert (await anext(batches))[0].type is StreamEventType.RESET


async def test_slow_consumer_ends_the_stream(database: Database) -> None:
    hub = list_hub(subscriber_buffer=2)
    poller = ChatListPoller(hub, ChatLists(database), poll_seconds=LONG_SECONDS)
    async with opened(hub, database) as (stream, batches):
        await anext(batches)
        for title in "abc":
            await create(database, title)
        await poller.step()
        assert [batch async for batch in batches] == []
        assert stream.end_reason is StreamEndReason.SLOW_CONSUMER
        assert stream.final_event is None
    assert hub.subscriber_count == 0


async def test_draining_process_ends_the_stream(database: Database) -> None:
    async with opened(list_hub(), database, is_draining=True) as (stream, batches):
        [snapshot] = [batch async for batch in batches]
        assert len(snapshot) == 1
        assert stream.end_reason is StreamEndReason.DRAINING
        assert stream.final_event == StreamEvent(StreamEventType.DRAINING, {})


async def test_unavailable_database_aborts_a_stream_that_catches_up(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the subscriber missed takes several reads, and the second one fails."""
    async with opened(list_hub(), database) as (_, batches):
        [snapshot] = await anext(batches)
    for title in "abc":
        await create(database, title)
    changed_since = ChatLists.changed_since
    reads: list[object] = []

    async def fail_the_second(
        self: ChatLists, queries: Sequence[ListQuery]
    ) -> Mapping[str, ChangeBatch]:
        reads.append(queries)
        if len(reads) > 1:
            raise DatabaseUnavailable
        return await changed_since(self, queries, limit=2)

    monkeypatch.setattr(ChatLists, "changed_since", fail_the_second)
    async with opened(list_hub(), database, snapshot.cursor) as (stream, batches):
        [missed] = [batch async for batch in batches]
        assert titles(missed) == ["a", "b"]
        assert missed[-1].cursor is not None
        assert stream.end_reason is StreamEndReason.ABORTED


async def test_change_between_the_reads_of_a_snapshot_is_sent_after_it(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = await create(database, "old")
    page = ChatLists.page

    async def then_rename(lists: ChatLists, **values: Any) -> Any:
        found = await page(lists, **values)
        await rename(database, chat, "new")
        return found

    monkeypatch.setattr(ChatLists, "page", then_rename)
    hub = list_hub(overlap_seconds=0.0)
    poller = ChatListPoller(hub, ChatLists(database), poll_seconds=LONG_SECONDS)
    async with opened(hub, database) as (_, batches):
        await anext(batches)
        hub.handle_hint(RESYNC)
        await poller.step()
        assert titles(await anext(batches)) == ["new"]


async def test_resume_finds_a_change_that_was_committed_late(database: Database) -> None:
    chat = await create(database, "old")
    hub = list_hub()
    async with opened(hub, database) as (_, batches):
        [snapshot] = await anext(batches)
    await rename(database, chat, "late")
    stored_at = decode_cursor(str(snapshot.cursor)) - timedelta(seconds=5)
    await database.fetch("UPDATE chats SET updated_at = $1", stored_at)
    async with opened(hub, database, snapshot.cursor) as (_, batches):
        assert titles(await anext(batches)) == ["late"]


async def resumed_in_pairs(
    database: Database, monkeypatch: pytest.MonkeyPatch, count: int, meanwhile: Awaitable[None]
) -> list[StreamEvent]:
    """Return ``count`` events of a resumed stream whose reads find two changes each.

    Five chats were changed in one microsecond. ``meanwhile`` happens after the first read.
    """
    hub = list_hub(overlap_seconds=0.0)
    async with opened(hub, database) as (_, batches):
        [snapshot] = await anext(batches)
    for number in range(5):
        await create(database, str(number))
    await database.fetch("UPDATE chats SET updated_at = now()")
    changed_since = ChatLists.changed_since
    monkeypatch.setattr(ChatLists, "changed_since", partialmethod(changed_since, limit=2))
    events: list[StreamEvent] = []
    async with opened(hub, database, snapshot.cursor) as (_, batches):
        await meanwhile
        while len(events) < count:
            events += await anext(batches)
    return events


async def nothing() -> None:
    pass


async def test_resume_sends_all_changes_of_one_microsecond(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = await resumed_in_pairs(database, monkeypatch, 5, nothing())
    assert sorted(titles(events)) == [*"01234"]


async def test_cursors_of_a_resumed_stream_never_go_back(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What follows live has the cursor of the first read."""

    async def change_more() -> None:
        for number in range(4):
            await create(database, f"later {number}")

    events = await resumed_in_pairs(database, monkeypatch, 9, change_more())
    cursors = [decode_cursor(str(event.cursor)) for event in events if event.cursor is not None]
    assert len(cursors) > 2
    assert cursors == sorted(cursors)
