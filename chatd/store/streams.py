"""What streams are made of: the snapshot they start from, the journal, and live parts."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

import asyncpg

from chatd.domain.chat import Chat
from chatd.domain.event import Cursor, JournalEntry
from chatd.domain.message import Message, Part, QueuedMessage
from chatd.store import rows, sql
from chatd.store.pool import Database

_Q = sql.load("streams")


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive parts of one epoch, the first of which has the number ``first``."""

    chat_id: UUID
    epoch: int
    first: int
    parts: Sequence[Part]

    @property
    def last(self) -> int:
        return self.first + len(self.parts) - 1


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A chat and all that a person sees of it, as of one moment."""

    chat: Chat
    messages: tuple[Message, ...]
    queue: tuple[QueuedMessage, ...]
    parts: tuple[Part, ...]
    """Of the running step, from the first one on."""


@dataclass(frozen=True, slots=True)
class Span:
    """Which cursors can be resumed: from the edge before the oldest journal row to now."""

    oldest: int
    version: int
    epoch: int
    parts_done: int

    def holds(self, cursor: Cursor) -> bool:
        return self.oldest - 1 <= cursor.version <= self.version and cursor.epoch <= self.epoch


@dataclass(frozen=True, slots=True)
class News:
    """What is new in one chat: journal rows, then the parts of its running step.

    ``version`` is None for a chat that was deleted. ``entries`` may stop short of ``version``; the
    parts then belong to a step that is still to come. ``batches`` holds the parts past the cursor,
    without a gap.
    """

    chat_id: UUID
    version: int | None
    epoch: int
    parts_done: int
    entries: tuple[JournalEntry, ...]
    batches: tuple[Batch, ...]


class Streams:
    """Reads for streams, and the write of live parts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def flush_parts(self, batches: Iterable[Batch]) -> None:
        """Store parts for viewers on other replicas; what was settled meanwhile is left out."""
        await self._database.fetch(
            _Q["flush_parts"],
            [
                {
                    "chat_id": batch.chat_id,
                    "epoch": batch.epoch,
                    "first": batch.first,
                    "last": batch.last,
                    "parts": batch.parts,
                }
                for batch in batches
            ],
        )

    async def snapshot(self, chat_id: UUID, *, owner_id: str | None) -> Snapshot | None:
        row = await self._database.fetchrow(_Q["snapshot"], chat_id, owner_id)
        if row is None:
            return None
        return Snapshot(
            chat=rows.chat(row),
            messages=tuple(map(rows.message, row["messages"] or ())),
            queue=tuple(map(rows.queued_message, row["queue"] or ())),
            parts=rows.parts_after(row["parts_done"], row["batches"] or ()),
        )

    async def span(self, chat_id: UUID, *, owner_id: str | None) -> Span | None:
        """Which cursors of a chat can be resumed; None when there is no such chat."""
        row = await self._database.fetchrow(_Q["span"], chat_id, owner_id)
        if row is None:
            return None
        oldest = row["version"] + 1 if row["oldest"] is None else row["oldest"]
        return Span(oldest, row["version"], row["epoch"], row["parts_done"])

    async def since(self, places: Sequence[tuple[UUID, Cursor]], *, most: int = 200) -> list[News]:
        """What is new in the given chats since the given cursors, in one statement."""
        answer = await self._database.fetch(
            _Q["since"],
            [chat_id for chat_id, _ in places],
            [cursor.version for _, cursor in places],
            [cursor.epoch for _, cursor in places],
            [cursor.part for _, cursor in places],
            most,
        )
        asked = dict(places)
        return [
            News(
                chat_id=row["id"],
                version=row["version"],
                epoch=row["epoch"] or 0,
                parts_done=row["parts_done"] or 0,
                entries=tuple(map(rows.entry, row["entries"] or ())),
                batches=_batches(row, asked[row["id"]]),
            )
            for row in answer
        ]

    async def forget_events(self, *, days: float, most: int = 5000) -> int:
        """Drop journal rows past their retention; the number says whether there may be more."""
        rows_gone = await self._database.fetch(_Q["forget_events"], days, most)
        return len(rows_gone)

    async def forget_parts(self, *, most: int = 5000) -> int:
        """Drop parts that no step will settle."""
        return len(await self._database.fetch(_Q["forget_parts"], most))


def _batches(row: asyncpg.Record, asked: Cursor) -> tuple[Batch, ...]:
    """The parts past the cursor as one batch, or none."""
    if not row["batches"]:
        return ()
    known = asked.part if asked.epoch == row["epoch"] else 0
    after = max(known, row["parts_done"])
    parts = rows.parts_after(after, row["batches"])
    return (Batch(row["id"], row["epoch"], after + 1, parts),) if parts else ()
