"""One viewer: from journal rows and parts to events, each with the cursor that follows it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from chatd.domain.cursor import Cursor
from chatd.domain.journal import JournalEntry
from chatd.domain.message import Message, Part
from chatd.domain.stream_events import StreamEventType, stream_events
from chatd.fanout.topic import Preview, Subscription

CursorEvent = tuple[Cursor, StreamEventType, Mapping[str, Any] | Message]


class ChatEventReader:
    """Where a viewer is, and what it is shown next.

    ``settled_part`` is the chat's, as of the read that the viewer starts from. Parts are shown only of
    a step that follows on the last journal row that was shown, so a part never overtakes the message
    of the step before, and parts of an older epoch are never shown after a newer one began.
    """

    def __init__(self, subscription: Subscription, cursor: Cursor, *, settled_part: int) -> None:
        self._subscription = subscription
        self._settled_part = settled_part
        self._preview: Preview | None = None
        self.cursor = cursor

    def pull(self) -> list[CursorEvent]:
        """Everything that is new, in order."""
        events: list[CursorEvent] = []
        self._append_part_events(events)
        for entry in self._subscription.take():
            if entry.version == self.cursor.version + 1:  # others were shown, or will come again
                self._append_entry_events(entry, events)
        self._select_preview()
        self._append_part_events(events)
        return events

    def events_for(self, entries: tuple[JournalEntry, ...]) -> list[CursorEvent]:
        """Events of journal rows that were read for this viewer alone."""
        events: list[CursorEvent] = []
        for entry in entries:
            if entry.version == self.cursor.version + 1:
                self._append_entry_events(entry, events)
        return events

    def set_settled_part(self, settled_part: int) -> None:
        """The chat's settled parts, as of the read that ``events_for`` came from."""
        self._settled_part = settled_part

    def snapshot_parts(self) -> list[Part]:
        """The parts of the running step so far, for a snapshot that shows them at once."""
        events: list[CursorEvent] = []
        self._select_preview()
        self._append_part_events(events)
        return [part for _, _, part in events if not isinstance(part, Message)]

    def _append_entry_events(self, entry: JournalEntry, events: list[CursorEvent]) -> None:
        told_now = list(stream_events(entry))
        for number, (kind, fields) in enumerate(told_now[:-1], 1):
            if number > self.cursor.events_sent and not _is_hidden(fields):
                events.append((replace(self.cursor, events_sent=number), kind, fields))
        if entry.epoch != self.cursor.epoch:
            self._settled_part = 0
        self._settled_part = entry.data.get("settled_part", self._settled_part)
        self._preview = None
        done = len(told_now) <= self.cursor.events_sent
        self.cursor = self.cursor.advanced_past(entry)
        if told_now and not done:
            kind, fields = told_now[-1]
            if not _is_hidden(fields):
                events.append((self.cursor, kind, fields))

    def _select_preview(self) -> None:
        preview = self._subscription.topic.preview
        if (
            preview is not None
            and preview.epoch == self.cursor.epoch
            and preview.base == self._settled_part
        ):
            self._preview = preview

    def _append_part_events(self, events: list[CursorEvent]) -> None:
        if self._preview is None:
            return
        number = max(self.cursor.part, self._preview.base)
        for part in self._preview.parts_after(number):
            number += 1
            self.cursor = replace(self.cursor, part=number)
            events.append((self.cursor, StreamEventType.MESSAGE_PART, part))


def _is_hidden(fields: Mapping[str, Any] | Message) -> bool:
    """A message that was taken out of the history since; it keeps its place among the row's events."""
    return isinstance(fields, Message) and fields.superseded
