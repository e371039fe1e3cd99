"""Reads for streams: the snapshot that a stream starts with, the journal, and live parts.

A snapshot costs some 150 us, and 5 ms with 1 MB of messages. The benchmarks ``turns`` and ``histories``
watch it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import asyncpg

from chatd.domain.cursor import Cursor
from chatd.domain.journal import JournalEntry
from chatd.domain.message import Part
from chatd.domain.snapshot import ChatSnapshot
from chatd.store import records, sql
from chatd.store.commits import NO_LISTENER, CommitListener
from chatd.store.database import Database
from chatd.store.limits import PAGE_BYTES

_Q = sql.load("stream_reads")


@dataclass(frozen=True, slots=True)
class PartBatch:
    """Consecutive parts of one epoch, the first of which has the number ``first_part``."""

    chat_id: UUID
    epoch: int
    first_part: int
    parts: Sequence[Part]

    @property
    def last_part(self) -> int:
        return self.first_part + len(self.parts) - 1


@dataclass(frozen=True, slots=True)
class ResumableRange:
    """Range of cursors that can be resumed: from the one before the oldest journal entry to the newest."""

    oldest_version: int
    version: int
    epoch: int
    settled_part: int

    def contains(self, cursor: Cursor) -> bool:
        return (
            self.oldest_version - 1 <= cursor.version <= self.version and cursor.epoch <= self.epoch
        )


@dataclass(frozen=True, slots=True)
class ChatUpdates:
    """Updates of one chat after a cursor: journal entries, then the parts of its running step.

    ``version`` is None for a deleted chat. ``entries`` may end before ``version``. The parts then
    belong to a step that later entries start. ``batches`` holds the parts after the cursor, without a gap.
    """

    chat_id: UUID
    version: int | None
    epoch: int
    settled_part: int
    entries: tuple[JournalEntry, ...]
    batches: tuple[PartBatch, ...]


class StreamStore:
    """Reads for streams, and the write of live parts."""

    def __init__(self, database: Database, *, listener: CommitListener = NO_LISTENER) -> None:
        self._database = database
        self._listener = listener

    async def flush_parts(self, batches: Sequence[PartBatch]) -> None:
        """Store live parts for subscribers of other replicas, except parts that were settled meanwhile."""
        await self._database.fetch(
            _Q["flush_parts"],
            batches=[
                {
                    "chat_id": batch.chat_id,
                    "epoch": batch.epoch,
                    "first_part": batch.first_part,
                    "last_part": batch.last_part,
                    "parts": batch.parts,
                }
                for batch in batches
            ],
        )
        for batch in batches:
            self._listener.on_flush(batch.chat_id)

    async def snapshot(
        self, chat_id: UUID, *, owner_id: str | None, max_bytes: int = PAGE_BYTES
    ) -> ChatSnapshot | None:
        """Return a chat with what a stream starts with. None: there is no such chat.

        The messages, the queue and the parts have about ``max_bytes`` each, but one of them at least.
        """
        rows = await self._database.fetch(
            _Q["snapshot"], chat_id=chat_id, owner_id=owner_id, max_bytes=max_bytes
        )
        if not rows:
            return None
        row, *stored = rows
        return ChatSnapshot(
            chat=records.chat(row),
            messages=tuple([records.message_beside_chat(each) for each in stored]),
            queue=tuple(map(records.queued_message, row["queue"] or ())),
            parts=records.parts_after(row["settled_part"], row["batches"] or ()),
            has_older=row["has_older"],
        )

    async def resumable_range(
        self, chat_id: UUID, *, owner_id: str | None
    ) -> ResumableRange | None:
        """Return the cursors of a chat that can be resumed. None: there is no such chat."""
        row = await self._database.fetchrow(
            _Q["resumable_range"], chat_id=chat_id, owner_id=owner_id
        )
        if row is None:
            return None
        oldest = row["version"] + 1 if row["oldest"] is None else row["oldest"]
        return ResumableRange(oldest, row["version"], row["epoch"], row["settled_part"])

    async def updates_since(
        self,
        cursors: Sequence[tuple[UUID, Cursor]],
        *,
        limit: int = 200,
        max_bytes: int = PAGE_BYTES,
    ) -> list[ChatUpdates]:
        """Return what is new in several chats since their cursors, in one statement.

        At most ``limit`` entries of one chat, and about ``max_bytes`` of entries of all, but one entry at
        least. About as many bytes of the parts of each.
        """
        rows = await self._database.fetch(
            _Q["updates_since"],
            chat_ids=[chat_id for chat_id, _ in cursors],
            versions=[cursor.version for _, cursor in cursors],
            epochs=[cursor.epoch for _, cursor in cursors],
            parts=[cursor.part for _, cursor in cursors],
            limit=limit,
            max_bytes=max_bytes,
        )
        cursor_of = dict(cursors)
        return [
            ChatUpdates(
                chat_id=row["id"],
                version=row["version"],
                epoch=row["epoch"] or 0,
                settled_part=row["settled_part"] or 0,
                entries=tuple(map(records.journal_entry, row["entries"] or ())),
                batches=_batches_after(row, cursor_of[row["id"]]),
            )
            for row in rows
        ]


def _batches_after(row: asyncpg.Record, cursor: Cursor) -> tuple[PartBatch, ...]:
    """Return the parts after the cursor as one batch, or none."""
    if not row["batches"]:
        return ()
    known = cursor.part if cursor.epoch == row["epoch"] else 0
    after = max(known, row["settled_part"])
    parts = records.parts_after(after, row["batches"])
    return (PartBatch(row["id"], row["epoch"], after + 1, parts),) if parts else ()
