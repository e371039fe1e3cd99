"""Streams of chats that are larger than one read: what was missed comes page by page."""

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import anyio
import pytest
from support.eventually import TIMEOUT_SECONDS
from support.factories import OWNER
from support.stored_parts import create_and_send
from support.subscribed_hub import SubscribedHub, entry

from chatd.domain.cursor import Cursor
from chatd.domain.errors import DatabaseUnavailable
from chatd.domain.journal import JournalEntry
from chatd.domain.message import Message, Role
from chatd.domain.outcomes import StreamEndReason
from chatd.domain.snapshot import ChatSnapshot
from chatd.domain.stream_events import StreamEvent, StreamEventType
from chatd.fanout.hub import ChatHub
from chatd.store.chats import Chats
from chatd.store.database import Database
from chatd.store.limits import PAGE_BYTES
from chatd.store.stream_reads import StreamStore
from chatd.streaming.chat_stream import ChatStream, subscribe_to_chat

LARGE = PAGE_BYTES * 3 // 5
"""Characters of a message of which no two fit into a page."""


async def large_chat(database: Database, *, messages: int = 4) -> list[JournalEntry]:
    return await create_and_send(database, *(str(n) * LARGE for n in range(messages)))


def first_letters(events: Sequence[StreamEvent]) -> list[str]:
    return [event.data.content[0]["text"][0] for event in events if isinstance(event.data, Message)]


def open_stream(database: Database, entries: Sequence[JournalEntry], hub: ChatHub) -> ChatStream:
    return subscribe_to_chat(hub, StreamStore(database), entries[0].chat_id)


async def test_resume_reads_a_page_when_the_one_before_was_taken(database: Database) -> None:
    entries = await large_chat(database)
    hub = ChatHub(subscriber_buffer=100)
    with open_stream(database, entries, hub) as stream:
        statements = database.statement_count
        await stream.open(str(Cursor(1)), owner_id=OWNER)
        assert database.statement_count == statements + 1
        statements += 1
        async with aclosing(stream.events(idle_seconds=60)) as batches:
            pages = [await anext(batches) for _ in range(2)]
            assert database.statement_count == statements + 1
            # What happens meanwhile is sent once, after what came before it.
            renamed = await Chats(database).describe(
                entries[0].chat_id, owner_id=OWNER, title="new"
            )
            assert renamed.entry is not None
            hub.publish(renamed.entry)
            while not (pages[-1] and pages[-1][-1].type is StreamEventType.CHAT):
                pages.append(await anext(batches))
    assert [letter for page in pages for letter in first_letters(page)] == [*"0123"]
    assert max(len(first_letters(page)) for page in pages) == 1
    cursors = [event.cursor for page in pages for event in page if isinstance(event.cursor, Cursor)]
    assert cursors == sorted(set(cursors)), "each event once, in order"


async def test_each_page_ends_with_a_cursor_that_resumes(database: Database) -> None:
    entries = await large_chat(database)
    cursor, letters = Cursor(1), list[str]()
    while len(letters) < 4:
        with open_stream(database, entries, ChatHub(subscriber_buffer=100)) as stream:
            await stream.open(str(cursor), owner_id=OWNER)
            async with aclosing(stream.events(idle_seconds=60)) as batches:
                page = await anext(batches)
        letters += first_letters(page)
        last = page[-1].cursor
        assert isinstance(last, Cursor)
        cursor = last
    assert letters == [*"0123"]


@pytest.mark.parametrize("failure", ["pruned", "unavailable"])
async def test_resume_that_cannot_go_on_ends(
    database: Database, monkeypatch: pytest.MonkeyPatch, failure: str
) -> None:
    """The client resumes from its last cursor, and then is told why, or gets a snapshot."""
    entries = await large_chat(database)
    with open_stream(database, entries, ChatHub(subscriber_buffer=100)) as stream:
        await stream.open(str(Cursor(1)), owner_id=OWNER)
        if failure == "pruned":
            await database.fetch("DELETE FROM chat_events WHERE version < 5")
        else:

            async def unavailable(*_: object, **_more: object) -> Any:
                raise DatabaseUnavailable

            monkeypatch.setattr(StreamStore, "updates_since", unavailable)
        with anyio.fail_after(TIMEOUT_SECONDS):
            batches = [page async for page in stream.events(idle_seconds=60)]
    assert len(batches) == 1
    assert stream.end_reason is StreamEndReason.ABORTED


async def test_snapshot_of_a_large_chat_is_followed_by_what_happens(database: Database) -> None:
    entries = await large_chat(database)
    hub = ChatHub(subscriber_buffer=100)
    with open_stream(database, entries, hub) as stream:
        await stream.open(None, owner_id=OWNER)
        async with aclosing(stream.events(idle_seconds=60)) as batches:
            [snapshot] = await anext(batches)
            assert isinstance(snapshot.data, ChatSnapshot)
            assert snapshot.data.has_older
            assert len(snapshot.data.messages) == 1
            renamed = await Chats(database).describe(
                entries[0].chat_id, owner_id=OWNER, title="new"
            )
            assert renamed.entry is not None
            hub.publish(renamed.entry)
            assert [event.type for event in await anext(batches)] == [StreamEventType.CHAT]


def test_pending_entries_are_bounded_in_bytes() -> None:
    subscribed = SubscribedHub()

    def large_entry(version: int, size: int) -> JournalEntry:
        plain = entry(version)
        message = Message(
            id=version,
            chat_id=plain.chat_id,
            version=version,
            role=Role.USER,
            content=(),
            model_config_id=None,
            usage=None,
            finish_reason=None,
            created_at=plain.created_at,
            size=size,
        )
        return replace(plain, messages=(message,))

    subscribed.hub.publish(large_entry(2, 100 * 2**20))  # one of any size
    assert not subscribed.subscription.disconnected
    assert len(subscribed.subscription.take()) == 1
    subscribed.hub.publish(large_entry(3, 10 * 2**20))
    assert not subscribed.subscription.disconnected
    subscribed.hub.publish(large_entry(4, 10 * 2**20))
    assert subscribed.subscription.disconnected
    assert subscribed.subscription.overflowed
    assert subscribed.subscription.take() == []
