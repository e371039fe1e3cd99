"""The stream of a list of chats: a snapshot or the changes since a cursor, then every change.

It sends states, not transitions: a subscriber that comes back with a cursor gets each chat that changed
since, as it is now, and the ids of those that were deleted. The change from stored to live is the one of
a chat's stream: subscribe first, then read, then drop by version what arrived both ways.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from chatd.domain.chat_list import (
    ChangeBatch,
    ChatChange,
    ListQuery,
    SentVersions,
    can_resume,
    decode_cursor,
    encode_cursor,
)
from chatd.domain.errors import ChatUnreadable, DatabaseUnavailable
from chatd.domain.snapshot import ChatListSnapshot
from chatd.domain.stream_events import StreamEvent, StreamEventType
from chatd.fanout.list_hub import ListHub, ListSubscription
from chatd.store.chat_lists import ChatFilter, ChatLists
from chatd.streaming.event_stream import RESET, EventStream

SNAPSHOT_SIZE: Final = 50
"""Chats of a snapshot. A client pages through the rest of the list."""
_CLOCK_RESOLUTION = timedelta(microseconds=1)
_FAR_FUTURE = datetime.max.replace(tzinfo=UTC)


class ChatListStream(EventStream):
    """The changes of one owner's chats for one subscriber. Call ``open``, then iterate over ``events``."""

    __slots__ = (
        "_archived",
        "_chat_lists",
        "_draining",
        "_hub",
        "_missed",
        "_retention",
        "_subscription",
    )

    def __init__(
        self,
        hub: ListHub,
        chat_lists: ChatLists,
        subscription: ListSubscription,
        *,
        retention: timedelta,
        archived: bool | None,
        is_draining: Callable[[], bool],
    ) -> None:
        super().__init__(subscription)
        self._archived = archived
        self._draining = is_draining
        self._hub = hub
        self._chat_lists = chat_lists
        self._subscription = subscription
        self._retention = retention
        self._missed: ChangeBatch | None = None

    def close(self) -> None:
        self._hub.unsubscribe(self._subscription)

    async def open(self, cursor: str | None) -> None:
        """Read what the stream begins with: a snapshot, or the first changes since ``cursor``.

        A cursor that cannot be resumed gets a ``reset`` event and a snapshot. Raises ``ChatUnreadable``.
        """
        if self._hub.refuses(self._subscription.owner_id):
            raise ChatUnreadable(None)
        if cursor is None:
            self._first_events = [await self._snapshot()]
            return
        self._missed = await self._resume(cursor)
        if self._missed is None:
            self._first_events = [RESET, await self._snapshot()]

    async def _snapshot(self) -> StreamEvent:
        read_at = (await self._read_changes(_FAR_FUTURE)).read_at
        chats = await self._chat_lists.page(
            owner_id=self._subscription.owner_id,
            chat_filter=ChatFilter(archived=self._archived),
            limit=SNAPSHOT_SIZE + 1,
        )
        has_more, chats = len(chats) > SNAPSHOT_SIZE, chats[:SNAPSHOT_SIZE]
        self._subscription.mark_sent([ChatChange.from_chat(chat) for chat in chats])
        self._hub.attach(self._subscription, read_at)
        snapshot = ChatListSnapshot(chats, has_more)
        return StreamEvent(StreamEventType.SNAPSHOT, snapshot, encode_cursor(read_at))

    async def _resume(self, cursor: str) -> ChangeBatch | None:
        """Return the first changes since the cursor; None when it cannot be resumed."""
        overlap = self._hub.overlap
        try:
            resume_at = decode_cursor(cursor)
            batch = await self._read_changes(resume_at - overlap)
        except ValueError:
            return None
        if not can_resume(
            resume_at, read_at=batch.read_at, overlap=overlap, retention=self._retention
        ):
            return None
        self._hub.attach(self._subscription, batch.read_at)
        return batch

    def _is_draining(self) -> bool:
        return self._draining()

    async def _backlog(self) -> AsyncGenerator[Sequence[StreamEvent], None]:
        """Yield what the stream begins with, then what the subscriber missed, one read at a time.

        Each read ends with a cursor, so a stream that ends between two reads loses nothing.
        """
        if self._first_events:
            yield self._take_first_events()
        if self._missed is None:
            return
        batch, self._missed = self._missed, None
        seen, opened_at = SentVersions(), batch.read_at
        while True:
            changes = self._subscription.mark_sent(seen.take_new(batch.changes))
            if batch.is_complete:
                yield _change_events(changes, opened_at)
                return
            last_change_at = batch.changes[-1].changed_at
            yield _change_events(changes, min(last_change_at, opened_at))
            if self._subscription.closed or self._is_draining():
                break
            # Other chats may have changed in the very same microsecond.
            since = last_change_at - _CLOCK_RESOLUTION
            seen.prune(since)
            try:
                batch = await self._read_changes(since, seen)
            except DatabaseUnavailable:
                break
        # Nothing newer may be sent now: the client resumes from its last cursor.
        self._subscription.disconnect()

    async def _read_changes(self, since: datetime, seen: SentVersions | None = None) -> ChangeBatch:
        owner_id = self._subscription.owner_id
        query = ListQuery(owner_id, since, seen.versions_since(since) if seen else {})
        return (await self._chat_lists.changed_since([query]))[owner_id]

    def _pull(self) -> Sequence[StreamEvent]:
        return _change_events(self._subscription.take(), self._subscription.read_at)


def _change_events(
    changes: Sequence[ChatChange], read_at: datetime | None
) -> Sequence[StreamEvent]:
    """Return the events of changed chats. Only the last one has a cursor, which is ``read_at``."""
    events = [
        StreamEvent(StreamEventType.CHAT, change.chat)
        if change.chat
        else StreamEvent(StreamEventType.DELETED, {"id": change.chat_id})
        for change in changes
    ]
    if events and read_at is not None:
        events[-1] = events[-1]._replace(cursor=encode_cursor(read_at))
    return events


def subscribe_to_list(
    hub: ListHub,
    chat_lists: ChatLists,
    owner_id: str,
    *,
    retention: timedelta,
    archived: bool | None,
    is_draining: Callable[[], bool],
) -> ChatListStream:
    """Subscribe to the chats of an owner until the stream is closed.

    ``retention`` is how long deletions are stored: an older cursor cannot be resumed. ``archived`` selects
    the chats of a snapshot (None: all). Changes are sent of all chats, since one may become archived.
    """
    return ChatListStream(
        hub,
        chat_lists,
        hub.subscribe(owner_id),
        retention=retention,
        archived=archived,
        is_draining=is_draining,
    )
