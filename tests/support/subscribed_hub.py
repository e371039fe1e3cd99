"""A hub with one subscriber, for tests that deliver entries and parts by hand."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from chatd.domain.chat import Status
from chatd.domain.cursor import Cursor
from chatd.domain.journal import JournalEntry
from chatd.domain.stream_events import StreamEventType
from chatd.domain.transitions import Transition
from chatd.fanout.hub import ChatHub
from chatd.fanout.topic import Subscription
from chatd.streaming.event_reader import ChatEventReader

CHAT = UUID(int=1)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def entry(
    version: int, *, transition: Transition = Transition.DESCRIBE, epoch: int = 0, **data: Any
) -> JournalEntry:
    if transition is Transition.DESCRIBE:
        data = {"title": "t", "labels": {}, "archived": False} | data
    return JournalEntry(
        chat_id=CHAT,
        version=version,
        created_at=NOW,
        transition=transition,
        status=Status.RUNNING,
        epoch=epoch,
        worker_id=None,
        data=data,
    )


def retry_entry(version: int, **data: Any) -> JournalEntry:
    retry = {
        "failure": {},
        "attempt": 1,
        "delay_seconds": 0,
        "next_attempt_at": "2026-01-01T00:05:00Z",
    }
    return entry(version, transition=Transition.RECORD_RETRY, **retry, **data)


class SubscribedHub:
    """Hub with one subscriber of a chat, and the number of times it became stale."""

    def __init__(self, *, buffer: int = 100, cursor: Cursor = Cursor(1)) -> None:  # noqa: B008 - frozen
        self.hub = ChatHub(subscriber_buffer=buffer)
        self.stale_calls = 0
        self.hub.on_stale = self._count_stale_call
        self.subscription, self.reader = self.subscribe(cursor)

    def _count_stale_call(self) -> None:
        self.stale_calls += 1

    def subscribe(self, cursor: Cursor, *parts: str) -> tuple[Subscription, ChatEventReader]:
        subscription = self.hub.subscribe(CHAT)
        self.hub.attach(subscription, cursor, 0, [{"text": text} for text in parts])
        return subscription, ChatEventReader(subscription, cursor, settled_part=0)

    def apply_read(self, *entries: JournalEntry, read_from: int, **more: Any) -> None:
        defaults = {"version": entries[-1].version if entries else read_from, "epoch": 0}
        self.hub.apply_read(
            CHAT,
            entries,
            after_version=read_from,
            **{**defaults, "settled_part": 0, "batches": [], **more},
        )

    def take_stale(self) -> list[tuple[UUID, Cursor]]:
        return self.hub.stale_topics(all_topics=False)


def versions(reader: ChatEventReader) -> list[int]:
    return [event.cursor.version for event in reader.pull() if isinstance(event.cursor, Cursor)]


def part_texts(reader: ChatEventReader) -> list[str]:
    return [
        event.data["text"]
        for event in reader.pull()
        if event.type is StreamEventType.MESSAGE_PART and isinstance(event.data, Mapping)
    ]
