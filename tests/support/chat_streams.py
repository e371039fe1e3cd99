"""Streams of chats, by themselves: no protocol, and the store that they read."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from uuid import UUID

import anyio

from chatd.domain.chat import Chat
from chatd.domain.cursor import Cursor
from chatd.domain.journal import JournalEntry
from chatd.domain.message import Part
from chatd.domain.stream_events import StreamEvent
from chatd.fanout.hub import ChatHub
from chatd.store.chats import Chats
from chatd.store.database import Database
from chatd.store.stream_reads import StreamStore
from chatd.streaming.chat_stream import ChatStream, subscribe_to_chat
from support.eventually import TIMEOUT_SECONDS
from support.factories import OWNER

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
