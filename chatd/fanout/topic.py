"""The topic of a chat: the preview of its running step, and its subscriptions.

A live part costs one event with its JSON, 1 us, made once for all subscribers that are as far, and a flag
set for each. The benchmark ``parts`` watches it.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple
from uuid import UUID

from pydantic_core import to_json

from chatd.domain.cursor import Cursor
from chatd.domain.journal import JournalEntry
from chatd.domain.message import PROVIDER_DATA, Part, public_delta
from chatd.domain.stream_events import StreamEvent, StreamEventType
from chatd.fanout.wakeup import Wakeup

_AFTER_ALL_PARTS: Final = 2**62
"""A part number higher than any other."""
_new: Final = tuple.__new__
"""Constructor of named tuples, in a third of the time that their own takes. A live part needs two."""


class Preview:
    """The live parts of one running step. Parts are numbered per epoch, and the first is ``base + 1``."""

    __slots__ = ("_shared_events", "base", "epoch", "is_local", "parts")

    def __init__(self, epoch: int, base: int, *, is_local: bool) -> None:
        self.epoch = epoch
        self.base = base
        self.is_local = is_local
        """True when the step runs in this process, so that its parts are not read from the database."""
        self.parts: list[Part] = []
        self._shared_events = _SharedEvents(Cursor(0), 0, ())

    @property
    def last_part(self) -> int:
        """The number of the last part."""
        return self.base + len(self.parts)

    def parts_after(self, part_number: int) -> Sequence[Part]:
        """Return the parts with a higher number."""
        return self.parts[max(part_number - self.base, 0) :]

    def events_after(self, cursor: Cursor) -> Sequence[StreamEvent]:
        """Return the events of the parts after a cursor, made once for all subscribers that are there."""
        shared = self._shared_events
        if shared.after == cursor and shared.last_part == self.last_part:
            return shared.events
        events = self._make_events(cursor)
        if len(events) <= _MAX_SHARED_EVENTS:
            self._shared_events = _SharedEvents(cursor, self.last_part, events)
        return events

    def _make_events(self, cursor: Cursor) -> list[StreamEvent]:
        version, epoch, part_number, events_sent = cursor
        first = max(part_number, self.base)
        events: list[StreamEvent] = []
        for number, part in enumerate(self.parts_after(first), first + 1):
            # A call for each live part would be a tenth of what it costs here.
            delta = public_delta(part) if PROVIDER_DATA in part else part
            if delta is not None:
                position = _new(Cursor, (version, epoch, number, events_sent))
                fields = (StreamEventType.MESSAGE_PART, delta, position, to_json(delta))
                events.append(_new(StreamEvent, fields))
        return events


class _SharedEvents(NamedTuple):
    """The events of the newest parts of a step. Most subscribers are sent the same ones."""

    after: Cursor
    last_part: int
    events: Sequence[StreamEvent]


_MAX_SHARED_EVENTS: Final = 64
"""Events that a step keeps for its other subscribers: those of one wake-up, also under load."""

_MAX_PENDING_BYTES: Final = 16 * 1024 * 1024
"""Bytes of entries that may be pending for one subscriber: a few of the largest messages."""


class Subscription:
    """The journal entries that are pending for one subscriber of a topic.

    They are at most ``max_entries``, and have 16 MiB together unless there is only one.
    """

    __slots__ = (
        "_entries",
        "_max_entries",
        "_pending_bytes",
        "disconnected",
        "overflowed",
        "topic",
        "unreadable",
        "woken",
    )

    def __init__(self, topic: "Topic", *, max_entries: int) -> None:
        self.topic = topic
        self._max_entries = max_entries
        self._entries: list[JournalEntry] = []
        self._pending_bytes = 0
        self.woken = Wakeup()
        """Set when there may be something new."""
        self.disconnected = False
        self.overflowed = False
        """True when the subscription was closed because too much was pending."""
        self.unreadable = False
        """True when the subscription was closed because this process cannot read the chat's data."""

    @property
    def deleted(self) -> bool:
        """True if the chat was deleted."""
        return self.topic.deleted

    @property
    def closed(self) -> bool:
        """True if the stream ends: it was disconnected, or the chat was deleted."""
        return self.disconnected or self.topic.deleted

    def deliver(self, entries: Iterable[JournalEntry]) -> None:
        """Add entries. Past the bound, close the subscription and drop them all."""
        if self.disconnected:
            return  # it may never be read again, so it must hold nothing
        for entry in entries:
            self._entries.append(entry)
            self._pending_bytes += entry.size
        too_large = self._pending_bytes > _MAX_PENDING_BYTES and len(self._entries) > 1
        if too_large or len(self._entries) > self._max_entries:
            self.disconnected = self.overflowed = True
            self._entries, self._pending_bytes = [], 0
        self.woken.set()

    def take(self) -> Sequence[JournalEntry]:
        """Return the entries that were delivered since the last call."""
        self.woken.clear()
        entries, self._entries, self._pending_bytes = self._entries, [], 0
        return entries

    def wake(self) -> None:
        """Have ``wait`` return."""
        self.woken.set()

    def disconnect(self) -> None:
        """Close the subscription."""
        self.disconnected = True
        self.woken.set()

    async def wait(self) -> None:
        """Return when there may be something new, or the subscription was closed."""
        await self.woken.wait()


class Topic:
    """One chat in the hub: the position of its journal, its running step, and its subscriptions."""

    __slots__ = (
        "chat_id",
        "deleted",
        "delivered",
        "latest_announced",
        "latest_known",
        "preview",
        "subscriptions",
    )

    def __init__(self, chat_id: UUID) -> None:
        self.chat_id = chat_id
        self.delivered: Cursor | None = None
        """Everything up to here was delivered; None until the first subscriber has read the chat."""
        self.latest_known = 0
        """The newest version that is known to exist."""
        self.latest_announced = 0
        """The newest version that this process published, or another one hinted at."""
        self.preview: Preview | None = None
        self.subscriptions: set[Subscription] = set()
        self.deleted = False

    @property
    def is_stale(self) -> bool:
        """True if entries must be read from the database."""
        return self.delivered is not None and self.latest_known > self.delivered.version

    @property
    def is_local(self) -> bool:
        """True if this process runs the current step, as far as the journal was delivered."""
        preview, delivered = self.preview, self.delivered
        return (
            preview is not None
            and preview.is_local
            and (delivered is None or preview.epoch >= delivered.epoch)
        )

    @property
    def read_from(self) -> Cursor | None:
        """The cursor to read the database from; None when there is nothing to read.

        The parts of a step that runs in this process are not read.
        """
        if self.delivered is None or self.deleted:
            return None
        version, preview = self.delivered.version, self.preview
        if preview is None:
            return Cursor(version, self.delivered.epoch, 0)
        part = _AFTER_ALL_PARTS if preview.is_local else preview.last_part
        return Cursor(version, preview.epoch, part)

    def note_known(self, version: int) -> None:
        """Note that a version exists."""
        self.latest_known = max(self.latest_known, version)

    def note_announced(self, version: int) -> None:
        """Note that a version was published, or hinted at."""
        self.latest_known = max(self.latest_known, version)
        self.latest_announced = max(self.latest_announced, version)

    def note_read(self, cursor: Cursor) -> None:
        """Note that a subscriber has read the chat as of ``cursor``."""
        if self.delivered is None:
            self.delivered = cursor
        elif self.delivered.version > cursor.version:
            # This subscriber missed versions in between. Deliver them to all again: the others, which
            # have them, skip duplicates.
            self.note_known(self.delivered.version)
            self.delivered = cursor
        self.note_known(cursor.version)

    def deliver(self, entries: Sequence[JournalEntry]) -> None:
        """Deliver journal entries that follow on those delivered before."""
        if self.delivered is None or not entries:
            return
        for entry in entries:
            self.delivered = self.delivered.advanced_past(entry)
        for subscription in self.subscriptions:
            subscription.deliver(entries)

    def merge_parts(
        self, epoch: int, settled_part: int, first_part: int, parts: Sequence[Part]
    ) -> None:
        """Add live parts that were read from the database, unless their step runs in this process."""
        preview = self.preview
        if (
            preview is None
            or preview.epoch < epoch
            or (preview.epoch == epoch and preview.base < settled_part)
        ):
            preview = self.preview = Preview(epoch, settled_part, is_local=False)
        if preview.is_local or preview.epoch != epoch or preview.base != settled_part:
            return
        if first_part <= preview.last_part + 1:
            preview.parts.extend(parts[preview.last_part + 1 - first_part :])
            self.wake()

    def wake(self) -> None:
        """Wake all subscribers who are not awake already: parts of one burst wake them once."""
        for subscription in self.subscriptions:
            if not subscription.woken.is_set:
                subscription.wake()

    def disconnect_all(self, *, unreadable: bool = False) -> None:
        """End the streams of all subscribers, who then resume. The first of them starts the topic anew."""
        self.delivered = None
        for subscription in self.subscriptions:
            subscription.disconnected = True
            subscription.unreadable = unreadable
        self.wake()
