"""The stream of one chat: a snapshot or the events since a cursor, then everything that happens.

The change from stored to live events loses and repeats nothing: the stream subscribes first, then reads,
then drops by cursor what arrived both ways. Every event has the cursor that resumes right after it, on
any replica.

Opening one costs a read of its chat: 8 ms of a core for 1 MB of messages, and 3 ms of PostgreSQL. One that
resumes where a turn began in this process reads nothing, nor does one of a chat that it has just made. The
benchmarks ``turns`` and ``memory`` watch it.
"""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from uuid import UUID

from chatd.domain.cursor import Cursor
from chatd.domain.errors import ChatNotFound, ChatUnreadable, DatabaseUnavailable
from chatd.domain.message import Part
from chatd.domain.outcomes import StreamEndReason
from chatd.domain.snapshot import ChatSnapshot
from chatd.domain.stream_events import StreamEvent, StreamEventType
from chatd.fanout.hub import ChatHub
from chatd.fanout.topic import Subscription
from chatd.store.database_errors import is_caused_by_data
from chatd.store.stream_reads import ChatUpdates, StreamStore
from chatd.streaming.event_reader import ChatEventReader
from chatd.streaming.event_stream import RESET, EventStream


class ChatStream(EventStream):
    """The events of one chat for one subscriber. Call ``open`` first, then iterate over ``events``."""

    __slots__ = (
        "_caught_up",
        "_chat_id",
        "_epoch",
        "_hub",
        "_reader",
        "_settled_part",
        "_stream_reads",
        "_subscription",
    )

    def __init__(self, hub: ChatHub, stream_reads: StreamStore, subscription: Subscription) -> None:
        super().__init__(subscription)
        self._hub = hub
        self._stream_reads = stream_reads
        self._subscription = subscription
        self._chat_id = subscription.topic.chat_id
        self._reader: ChatEventReader
        self._caught_up = True
        """False while there is more that the subscriber missed. It is not attached to the hub yet."""
        self._settled_part = self._epoch = 0
        """Of the chat, as of the last read of what the subscriber missed."""

    def close(self) -> None:
        self._hub.unsubscribe(self._subscription)

    @property
    def final_event(self) -> StreamEvent | None:
        if self.end_reason is StreamEndReason.CHAT_DELETED:
            return StreamEvent(StreamEventType.DELETED, {"id": self._chat_id})
        return super().final_event

    async def open(self, cursor: str | None, *, owner_id: str | None, since: int = 0) -> None:
        """Read what the stream begins with: a snapshot, or the first page of what follows on ``cursor``.

        A cursor that cannot be resumed gets a ``reset`` event and a snapshot. ``owner_id`` is the owner
        that the chat must have; None stands for any owner. A snapshot has messages from the id ``since``
        on. Raises ``ChatNotFound`` and ``ChatUnreadable``.
        """
        if self._hub.refuses(self._chat_id):
            raise ChatUnreadable(self._chat_id)
        try:
            await self._open(cursor, owner_id, since)
        except Exception as error:
            if isinstance(error, ChatUnreadable) or not is_caused_by_data(error):
                raise
            raise ChatUnreadable(self._chat_id) from error

    async def _open(self, cursor: str | None, owner_id: str | None, since: int) -> None:
        if cursor is None:
            known = self._hub.new_chats.snapshot(self._chat_id, owner_id=owner_id)
            snapshot = known or await self._read_snapshot(owner_id, since)
            self._first_events = [self._begin_with(snapshot)]
            return
        try:
            position = Cursor.parse(cursor)
        except ValueError:
            position = None
        missed = None if position is None else await self._resume(position, owner_id)
        if missed is not None:
            self._first_events = missed
            return
        self._caught_up = True
        self._first_events = [RESET, self._begin_with(await self._read_snapshot(owner_id, since))]

    async def _read_snapshot(self, owner_id: str | None, since: int) -> ChatSnapshot:
        snapshot = await self._stream_reads.snapshot(self._chat_id, owner_id=owner_id, since=since)
        if snapshot is None:
            raise ChatNotFound(self._chat_id)
        return snapshot

    def _begin_with(self, snapshot: ChatSnapshot) -> StreamEvent:
        """Attach the subscriber to the hub as of a snapshot, and return its event."""
        chat = snapshot.chat
        cursor = Cursor(chat.version, chat.epoch, chat.settled_part)
        self._hub.attach(self._subscription, cursor, chat.settled_part, snapshot.parts)
        self._reader = ChatEventReader(self._subscription, cursor, settled_part=chat.settled_part)
        snapshot = replace(snapshot, parts=self._reader.snapshot_parts())
        return StreamEvent(StreamEventType.SNAPSHOT, snapshot, self._reader.cursor)

    async def _resume(self, cursor: Cursor, owner_id: str | None) -> list[StreamEvent] | None:
        """Return what follows on the cursor; None when the journal does not hold it, or not yet."""
        update = self._begun_turn(cursor, owner_id) or await self._stream_reads.updates_after(
            self._chat_id, _before_parts(cursor), owner_id=owner_id
        )
        if update is None:
            raise ChatNotFound(self._chat_id)
        if not update.follow_on(cursor):
            return None
        self._reader = ChatEventReader(self._subscription, cursor, settled_part=update.settled_part)
        return self._take(update)

    def _begun_turn(self, cursor: Cursor, owner_id: str | None) -> ChatUpdates | None:
        """Return what follows on the cursor without a read, if the turn began here after it."""
        turn = self._hub.begun_turns.after(self._chat_id, cursor.version, owner_id=owner_id)
        if turn is None:
            return None
        return ChatUpdates(
            chat_id=self._chat_id,
            version=turn.claim.version,
            epoch=turn.claim.epoch,
            settled_part=0,  # as a claim leaves it
            entries=tuple(entry for entry in turn.entries if entry.version > cursor.version),
            batches=(),
        )

    async def _read_missed(self) -> list[StreamEvent] | None:
        """Return the next page of what the subscriber missed. None: its first entry was pruned."""
        read_from = _before_parts(self._reader.cursor)
        updates = await self._stream_reads.updates_since([(self._chat_id, read_from)])
        events = self._take(updates[0] if updates else None)
        advanced = self._reader.cursor.version > read_from.version
        return events if self._caught_up or advanced else None

    def _take(self, update: ChatUpdates | None) -> list[StreamEvent]:
        """Return the events of what was read. Attach the subscriber to the hub after the last one."""
        reader, parts = self._reader, tuple[Part, ...]()
        events: list[StreamEvent] = []
        self._caught_up = True
        if update is not None and update.version is not None:
            self._settled_part, self._epoch = update.settled_part, update.epoch
            events = reader.events_for(update.entries)
            self._caught_up = reader.cursor.version >= update.version
            if not self._caught_up:
                return events
            parts = tuple(part for batch in update.batches for part in batch.parts)
        reader.set_settled_part(self._settled_part)
        position = Cursor(reader.cursor.version, self._epoch)
        self._hub.attach(self._subscription, position, self._settled_part, parts)
        return events

    def _is_draining(self) -> bool:
        return self._hub.draining

    async def _backlog(self) -> AsyncGenerator[Sequence[StreamEvent], None]:
        """Yield what the stream begins with, then what the subscriber missed, one page at a time.

        Each page ends with a cursor, so a stream that ends between two pages loses nothing. One that
        cannot go on ends, and opening it again tells the client why.
        """
        if self._first_events:
            yield self._take_first_events()
        while not (self._caught_up or self._subscription.closed or self._is_draining()):
            try:
                events = await self._read_missed()
            except Exception as error:
                if not (isinstance(error, DatabaseUnavailable) or is_caused_by_data(error)):
                    raise
                break
            if events is None:
                break
            yield events
        if not self._caught_up:
            self._subscription.disconnect()

    def _pull(self) -> Sequence[StreamEvent]:
        return self._reader.pull()


def _before_parts(cursor: Cursor) -> Cursor:
    """Return where to read from: parts from the start of their step, for all subscribers of the topic."""
    return cursor._replace(epoch=0, part=0)


def subscribe_to_chat(hub: ChatHub, stream_reads: StreamStore, chat_id: UUID) -> ChatStream:
    """Subscribe to a chat, which need not exist yet, until the stream is closed.

    Whatever happens to the chat from here on is part of the stream, so a caller that creates or changes
    the chat before it opens the stream misses nothing.
    """
    return ChatStream(hub, stream_reads, hub.subscribe(chat_id))
