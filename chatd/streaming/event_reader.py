"""The events of one chat for one subscriber, each with the cursor that resumes after it.

A wake-up for live parts costs two comparisons and a cursor, however many subscribers there are: their
events are shared. The benchmark ``parts`` watches it.
"""

from collections.abc import Iterable

from chatd.domain.cursor import Cursor
from chatd.domain.journal import JournalEntry
from chatd.domain.message import Message, Part
from chatd.domain.stream_events import StreamEvent, StreamEventType, stream_events
from chatd.fanout.topic import Preview, Subscription


class ChatEventReader:
    """Reader of the journal entries and live parts of a subscription as events, from a cursor on.

    ``settled_part`` is the chat's, as of the read that the subscriber starts from. Live parts are sent
    only of the step that follows on the last entry that was sent. So a part never overtakes the message
    of the step before it, and parts of an older epoch are never sent once a newer one began.
    """

    __slots__ = ("_preview", "_settled_part", "_subscription", "cursor")

    def __init__(self, subscription: Subscription, cursor: Cursor, *, settled_part: int) -> None:
        self._subscription = subscription
        self._settled_part = settled_part
        self._preview: Preview | None = None
        self.cursor = cursor

    def pull(self) -> list[StreamEvent]:
        """Return everything that is new, in order."""
        events: list[StreamEvent] = []
        self._append_part_events(events)
        self._append_entries(self._subscription.take(), events)
        self._select_preview()
        self._append_part_events(events)
        return events

    def events_for(self, entries: Iterable[JournalEntry]) -> list[StreamEvent]:
        """Return the events of journal entries that were read for this subscriber alone."""
        events: list[StreamEvent] = []
        self._append_entries(entries, events)
        return events

    def set_settled_part(self, settled_part: int) -> None:
        """Set the chat's settled part, as of the read that brought the entries of ``events_for``."""
        self._settled_part = settled_part

    def snapshot_parts(self) -> list[Part]:
        """Return the live parts of the running step so far, and advance the cursor past them."""
        self._select_preview()
        if self._preview is None:
            return []
        number = max(self.cursor.part, self._preview.base)
        parts = list(self._preview.parts_after(number))
        if parts:
            self.cursor = self.cursor._replace(part=number + len(parts))
        return parts

    def _append_entries(self, entries: Iterable[JournalEntry], events: list[StreamEvent]) -> None:
        for entry in entries:
            # An older entry was sent already. A later one comes again, after those before it.
            if entry.version == self.cursor.version + 1:
                self._append_entry_events(entry, events)

    def _append_entry_events(self, entry: JournalEntry, events: list[StreamEvent]) -> None:
        entry_events = list(stream_events(entry))
        # A newer process may make other events of an entry that this one does not know. So their number
        # is in no cursor: a subscriber that is cut off in between gets all of them again.
        is_known = entry.transition.is_known
        already_sent = self.cursor.events_sent if is_known else 0
        if not already_sent and self._has_more_than_stored(entry):
            events.append(StreamEvent(StreamEventType.PREVIEW_RESET, {}))
        for number, event in enumerate(entry_events[:-1], 1):
            if number > already_sent and not _is_hidden(event):
                cursor = self.cursor.within(number) if is_known else None
                events.append(_at(event, cursor))
        if entry.epoch != self.cursor.epoch:
            self._settled_part = 0
        self._settled_part = entry.data.get("settled_part", self._settled_part)
        self._preview = None
        self.cursor = self.cursor.advanced_past(entry)
        if len(entry_events) > already_sent:
            event = entry_events[-1]
            if not _is_hidden(event):
                events.append(_at(event, self.cursor))

    def _has_more_than_stored(self, entry: JournalEntry) -> bool:
        """Return whether the subscriber was sent live parts that are in no message.

        A worker that died had sent them to its own subscribers, and had not stored them for others yet.
        """
        return (
            entry.transition.rule.commits_preview
            and entry.epoch == self.cursor.epoch
            and self.cursor.part > entry.data.get("settled_part", self.cursor.part)
        )

    def _select_preview(self) -> None:
        preview = self._subscription.topic.preview
        if (
            preview is not None
            and preview.epoch == self.cursor.epoch
            and preview.base == self._settled_part
        ):
            self._preview = preview

    def _append_part_events(self, events: list[StreamEvent]) -> None:
        if self._preview is None:
            return
        version, epoch, part_number, events_sent = self.cursor
        last_part = self._preview.last_part
        if last_part > part_number and last_part > self._preview.base:
            events += self._preview.events_after(self.cursor)
            self.cursor = Cursor(version, epoch, last_part, events_sent)


def _at(event: StreamEvent, cursor: Cursor | None) -> StreamEvent:
    """Return the event with the cursor that resumes after it."""
    return tuple.__new__(StreamEvent, (event.type, event.data, cursor, event.json))


def _is_hidden(event: StreamEvent) -> bool:
    """Return whether an event is not sent: its message was taken out of the history since.

    It still counts among the events of its entry.
    """
    return isinstance(event.data, Message) and event.data.superseded
