"""A model of one chat and of its subscribers, for random schedules of a hub (``hub_replica``).

``ModelDatabase`` is a chat as the database keeps it. ``ModelClient`` checks each event that reaches it.
Every client must have received:

* each event of the journal exactly once and in order, from where it started;
* the parts of each attempt of a step from the first on, in order and without a gap, after the events
  that led to the step and before those that end it;
* live parts that are always a beginning of the message that replaces them, and none when an epoch begins.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from chatd.domain.chat import Status
from chatd.domain.cursor import Cursor
from chatd.domain.journal import JournalEntry
from chatd.domain.message import Message, Part, Role
from chatd.domain.stream_events import StreamEvent, StreamEventType, stream_events
from chatd.domain.transitions import Transition
from chatd.fanout.topic import Preview, Subscription
from chatd.streaming.event_reader import ChatEventReader

CHAT = UUID(int=1)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Attempt:
    """One attempt of one step, and all that it ever streamed."""

    epoch: int
    base: int
    started_after: int
    """The version after which it streams."""
    ended_by: int | None = None
    """The version that ended it."""
    words: list[str] = field(default_factory=list)
    flushed: int = 0
    preview: Preview | None = None
    """Set when it runs on the replica under test."""

    @property
    def text(self) -> str:
        return "".join(self.words)


@dataclass(frozen=True)
class ModelRead:
    """The result of one read."""

    version: int
    epoch: int
    settled_part: int
    entries: tuple[JournalEntry, ...]
    first_part: int
    parts: tuple[Part, ...]


def delta(word: str) -> Part:
    return {"index": 0, "type": "text", "text": word}


class ModelDatabase:
    """A chat in the database, as far as streams read it."""

    def __init__(self) -> None:
        self.journal: list[JournalEntry] = []
        self.oldest_version = 1
        self.status = Status.WAITING
        self.epoch = self.settled_part = 0
        self.worker_id: UUID | None = None
        self.attempts: list[Attempt] = []
        self.running: Attempt | None = None

    @property
    def version(self) -> int:
        return len(self.journal)

    def apply(
        self, transition: Transition, status: Status, *roles: Role, text: str = "", **data: Any
    ) -> JournalEntry:
        """Append an entry to the journal, with one message for each role."""
        version = self.version + 1
        self.settled_part = data.get("settled_part", self.settled_part)
        entry = JournalEntry(
            chat_id=CHAT,
            version=version,
            created_at=NOW,
            transition=transition,
            status=status,
            epoch=self.epoch,
            worker_id=self.worker_id,
            data=data,
            messages=tuple(
                _message(version * 10 + n, version, role, text) for n, role in enumerate(roles)
            ),
        )
        self.journal.append(entry)
        self.status = status
        return entry

    def start_attempt(self) -> Attempt:
        self.running = Attempt(self.epoch, self.settled_part, self.version)
        self.attempts.append(self.running)
        return self.running

    def end_attempt(self, *, settles_parts: bool = True) -> int:
        """End the running attempt with the next entry. Return the number of the last settled part."""
        attempt, self.running = self.running, None
        assert attempt is not None
        attempt.ended_by = self.version + 1
        last_part = attempt.base + len(attempt.words) if settles_parts else 0
        return max(last_part, self.settled_part + 1)

    def read(self, cursor: Cursor, *, limit: int) -> ModelRead:
        entries = self.journal[max(cursor.version, self.oldest_version - 1) :][:limit]
        known_part = cursor.part if cursor.epoch == self.epoch else 0
        after_part = max(known_part, self.settled_part)
        words: Sequence[str] = ()
        if self.running is not None:
            words = self.running.words[: self.running.flushed][after_part - self.running.base :]
        return ModelRead(
            self.version,
            self.epoch,
            self.settled_part,
            tuple(entries),
            after_part + 1,
            tuple(map(delta, words)),
        )

    def attempt_at(self, cursor: Cursor) -> Attempt:
        """Return the attempt that streamed the part that a cursor names."""
        (found,) = (
            attempt
            for attempt in self.attempts
            if attempt.epoch == cursor.epoch
            and attempt.base < cursor.part <= attempt.base + len(attempt.words)
        )
        return found


def _message(number: int, version: int, role: Role, text: str) -> Message:
    return Message(
        id=number,
        chat_id=CHAT,
        version=version,
        role=role,
        content=({"type": "text", "text": text},),
        model_config_id=None,
        usage=None,
        finish_reason=None,
        created_at=NOW,
    )


class ModelClient:
    """A client that follows the chat, and compares each event with the one that must come next."""

    def __init__(self, database: ModelDatabase) -> None:
        self.database = database
        self.subscription: Subscription | None = None
        self.reader: ChatEventReader | None = None
        self.pending_read: ModelRead | None = None
        """Set while the client opens its stream."""
        self.cursor: Cursor | None = None
        """Of the last event that arrived; None before the first snapshot."""
        self.version = self.events_seen = 0
        self.preview: list[str] = []
        self.previewed: Attempt | None = None
        """The attempt that the preview belongs to."""
        self.event_counts: Counter[StreamEventType] = Counter()

    def receive_snapshot(self, cursor: Cursor, parts: Sequence[Part]) -> None:
        self.cursor, self.version, self.events_seen = cursor, cursor.version, 0
        self.preview = [part["text"] for part in parts]
        self.previewed = self.database.attempt_at(cursor) if parts else None

    def receive(self, event: StreamEvent) -> None:
        self.event_counts[event.type] += 1
        if event.cursor is None:
            self._receive_reset_of_a_dead_worker(event)
            return
        assert isinstance(event.cursor, Cursor)
        if event.type is StreamEventType.MESSAGE_PART:
            self._receive_part(event.cursor, event.data)
        else:
            self._receive_event(event, event.cursor)
        self.cursor = event.cursor

    def _receive_reset_of_a_dead_worker(self, event: StreamEvent) -> None:
        """Drop a preview that is longer than what was stored for the worker that had streamed it."""
        assert event.type is StreamEventType.PREVIEW_RESET
        self._skip_entries_without_events()
        entry = self.database.journal[self.version]
        assert entry.transition is Transition.REAP_INTERRUPT
        assert not self.events_seen
        assert self.cursor is not None
        assert self.cursor.part > entry.data["settled_part"]
        self._clear_preview()

    def _receive_event(self, event: StreamEvent, cursor: Cursor) -> None:
        self._skip_entries_without_events()
        entry = self.database.journal[self.version]
        expected = list(stream_events(entry))
        assert (event.type, event.data) == expected[self.events_seen][:2]
        self.events_seen += 1
        if self.events_seen == len(expected):
            self.version, self.events_seen = self.version + 1, 0
        assert (cursor.version, cursor.events_sent) == (self.version, self.events_seen)
        if event.type in {StreamEventType.PREVIEW_RESET, StreamEventType.HISTORY_RESET}:
            self._clear_preview()
        elif isinstance(event.data, Message) and event.data.role is Role.ASSISTANT:
            stored, previewed = event.data.content[0]["text"], "".join(self.preview)
            assert stored.startswith(previewed)
            self._clear_preview()
        elif entry.transition is Transition.CLAIM:
            assert not self.preview, "an epoch begins without a preview"

    def _skip_entries_without_events(self) -> None:
        while not self.events_seen and not list(stream_events(self.database.journal[self.version])):
            self.version += 1

    def _receive_part(self, cursor: Cursor, part: Any) -> None:
        assert not self.events_seen, "a part between two events of one entry"
        attempt = self.database.attempt_at(cursor)
        assert attempt.started_after <= cursor.version, "a part before its step began"
        assert attempt.ended_by is None or cursor.version < attempt.ended_by, (
            "a part after its step"
        )
        assert self.previewed in (None, attempt), "a part on top of those of another step"
        self.previewed = attempt
        self.preview.append(part["text"])
        assert cursor.part == attempt.base + len(self.preview), "a part was left out, or came twice"
        assert self.preview == attempt.words[: len(self.preview)]

    def _clear_preview(self) -> None:
        self.preview, self.previewed = [], None
