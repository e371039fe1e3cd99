"""The stream of one chat: a snapshot or the events since a cursor, then everything that happens.

The change from stored to live events loses and repeats nothing: the stream subscribes first, then reads,
then drops by cursor what arrived both ways. Every event has the cursor that resumes right after it, on
any replica.
"""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from uuid import UUID

from chatd.domain.cursor import Cursor
from chatd.domain.errors import ChatNotFound, ChatUnreadable
from chatd.domain.message import Part
from chatd.domain.outcomes import StreamEndReason
from chatd.domain.stream_events import StreamEvent, StreamEventType
from chatd.fanout.hub import ChatHub
from chatd.fanout.topic import Subscription
from chatd.store.database_errors import is_caused_by_data
from chatd.store.stream_reads import StreamStore
from chatd.streaming.event_reader import ChatEventReader
from chatd.streaming.event_stream import RESET, EventStream


class ChatStream(EventStream):
    """The events of one chat for one subscriber. Call ``open`` first, then iterate over ``events``."""

    __slots__ = ("_chat_id", "_hub", "_reader", "_stream_reads", "_subscription")

    def __init__(self, hub: ChatHub, stream_reads: StreamStore, subscription: Subscription) -> None:
        super().__init__(subscription)
        self._hub = hub
        self._stream_reads = stream_reads
        self._subscription = subscription
        self._chat_id = subscription.topic.chat_id
        self._reader: ChatEventReader

    def close(self) -> None:
        self._hub.unsubscribe(self._subscription)

    @property
    def final_event(self) -> StreamEvent | None:
        if self.end_reason is StreamEndReason.CHAT_DELETED:
            return StreamEvent(StreamEventType.DELETED, {"id": self._chat_id})
        return super().final_event

    async def open(self, cursor: str | None, *, owner_id: str | None) -> None:
        """Read what the stream begins with: a snapshot, or what follows on ``cursor``.

        A cursor that cannot be resumed gets a ``reset`` event and a snapshot. ``owner_id`` is the owner
        that the chat must have; None stands for any owner. Raises ``ChatNotFound`` and ``ChatUnreadable``.
        """
        if self._hub.refuses(self._chat_id):
            raise ChatUnreadable(self._chat_id)
        try:
            await self._open(cursor, owner_id)
        except Exception as error:
            if isinstance(error, ChatUnreadable) or not is_caused_by_data(error):
                raise
            raise ChatUnreadable(self._chat_id) from error

    async def _open(self, cursor: str | None, owner_id: str | None) -> None:
        if cursor is None:
            self._first_events = [await self._snapshot(owner_id)]
            return
        try:
            position = Cursor.parse(cursor)
        except ValueError:
            position = None
        missed = None if position is None else await self._resume(position, owner_id)
        if missed is not None:
            self._first_events = missed
            return
        self._first_events = [RESET, await self._snapshot(owner_id)]

    async def _snapshot(self, owner_id: str | None) -> StreamEvent:
        snapshot = await self._stream_reads.snapshot(self._chat_id, owner_id=owner_id)
        if snapshot is None:
            raise ChatNotFound(self._chat_id)
        chat = snapshot.chat
        cursor = Cursor(chat.version, chat.epoch, chat.settled_part)
        self._hub.attach(self._subscription, cursor, chat.settled_part, snapshot.parts)
        self._reader = ChatEventReader(self._subscription, cursor, settled_part=chat.settled_part)
        snapshot = replace(snapshot, parts=self._reader.snapshot_parts())
        return StreamEvent(StreamEventType.SNAPSHOT, snapshot, self._reader.cursor)

    async def _resume(self, cursor: Cursor, owner_id: str | None) -> list[StreamEvent] | None:
        """Return what follows on the cursor; None when the journal does not hold it, or not yet."""
        resumable = await self._stream_reads.resumable_range(self._chat_id, owner_id=owner_id)
        if resumable is None:
            raise ChatNotFound(self._chat_id)
        if not resumable.contains(cursor):
            return None
        settled_part, epoch = resumable.settled_part, resumable.epoch
        reader = ChatEventReader(self._subscription, cursor, settled_part=settled_part)
        events: list[StreamEvent] = []
        parts: Sequence[Part] = ()
        while True:
            # Parts are read from the start of the step, for all subscribers of the topic.
            read_from = replace(reader.cursor, epoch=0, part=0)
            updates = await self._stream_reads.updates_since([(self._chat_id, read_from)])
            update = updates[0] if updates else None
            if update is None or update.version is None:
                break
            settled_part, epoch = update.settled_part, update.epoch
            events += reader.events_for(update.entries)
            if reader.cursor.version >= update.version:
                parts = tuple(part for batch in update.batches for part in batch.parts)
                break
            if reader.cursor.version == read_from.version:
                return None  # The entry that follows on the cursor was pruned meanwhile.
        reader.set_settled_part(settled_part)
        position = Cursor(reader.cursor.version, epoch)
        self._hub.attach(self._subscription, position, settled_part, parts)
        self._reader = reader
        return events

    def _is_draining(self) -> bool:
        return self._hub.draining

    async def _backlog(self) -> AsyncGenerator[Sequence[StreamEvent], None]:
        if self._first_events:
            yield self._take_first_events()

    def _pull(self) -> Sequence[StreamEvent]:
        return self._reader.pull()


def subscribe_to_chat(hub: ChatHub, stream_reads: StreamStore, chat_id: UUID) -> ChatStream:
    """Subscribe to a chat, which need not exist yet, until the stream is closed.

    Whatever happens to the chat from here on is part of the stream, so a caller that creates or changes
    the chat before it opens the stream misses nothing.
    """
    return ChatStream(hub, stream_reads, hub.subscribe(chat_id))
