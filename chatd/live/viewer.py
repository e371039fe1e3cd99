"""One viewer: from journal rows and parts to events, each with the cursor that follows it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from chatd.domain.event import Cursor, JournalEntry, StreamEventType, stream_events
from chatd.domain.message import Message, Part
from chatd.live.topic import Preview, Subscription

Event = tuple[Cursor, StreamEventType, Mapping[str, Any] | Message]


class Viewer:
    """Where a viewer is, and what it is shown next.

    ``settled_part`` is the chat's, as of the read that the viewer starts from. Parts are shown only of
    a step that follows on the last journal row that was shown, so a part never overtakes the message
    of the step before, and parts of an older epoch are never shown after a newer one began.
    """

    def __init__(self, subscription: Subscription, cursor: Cursor, *, parts_done: int) -> None:
        self._subscription = subscription
        self._parts_done = parts_done
        self._preview: Preview | None = None
        self.cursor = cursor

    def pull(self) -> list[Event]:
        """Everything that is new, in order."""
        events: list[Event] = []
        self._parts(events)
        for entry in self._subscription.take():
            if entry.version == self.cursor.version + 1:  # others were shown, or will come again
                self._entry(entry, events)
        self._align()
        self._parts(events)
        return events

    def show(self, entries: tuple[JournalEntry, ...]) -> list[Event]:
        """Events of journal rows that were read for this viewer alone."""
        events: list[Event] = []
        for entry in entries:
            if entry.version == self.cursor.version + 1:
                self._entry(entry, events)
        return events

    def settle(self, parts_done: int) -> None:
        """The chat's settled parts, as of the read that ``show`` came from."""
        self._parts_done = parts_done

    def catch_up_parts(self) -> list[Part]:
        """The parts of the running step so far, for a snapshot that shows them at once."""
        events: list[Event] = []
        self._align()
        self._parts(events)
        return [part for _, _, part in events if not isinstance(part, Message)]

    def _entry(self, entry: JournalEntry, events: list[Event]) -> None:
        told_now = list(stream_events(entry))
        for number, (kind, fields) in enumerate(told_now[:-1], 1):
            if number > self.cursor.events_sent and not _is_hidden(fields):
                events.append((replace(self.cursor, events_sent=number), kind, fields))
        if entry.epoch != self.cursor.epoch:
            self._parts_done = 0
        self._parts_done = entry.data.get("parts_done", self._parts_done)
        self._preview = None
        done = len(told_now) <= self.cursor.events_sent
        self.cursor = self.cursor.advanced_past(entry)
        if told_now and not done:
            kind, fields = told_now[-1]
            if not _is_hidden(fields):
                events.append((self.cursor, kind, fields))

    def _align(self) -> None:
        preview = self._subscription.topic.preview
        if (
            preview is not None
            and preview.epoch == self.cursor.epoch
            and preview.base == self._parts_done
        ):
            self._preview = preview

    def _parts(self, events: list[Event]) -> None:
        if self._preview is None:
            return
        number = max(self.cursor.part, self._preview.base)
        for part in self._preview.after(number):
            number += 1
            self.cursor = replace(self.cursor, part=number)
            events.append((self.cursor, StreamEventType.MESSAGE_PART, part))


def _is_hidden(fields: Mapping[str, Any] | Message) -> bool:
    """A message that was taken out of the history since; it keeps its place among the row's events."""
    return isinstance(fields, Message) and fields.superseded
