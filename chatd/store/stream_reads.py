"""Reads for streams: the snapshot that a stream starts with, the journal, and live parts.

A snapshot costs some 150 us, and 5 ms with 1 MB of messages. The benchmarks ``turns`` and ``histories``
watch it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
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

_MAX_ENTRIES: Final = 200
"""Journal entries of one chat in one read: enough for a long absence, and some 100 kB."""


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

    def follow_on(self, cursor: Cursor) -> bool:
        """Return whether these are all updates after ``cursor``: the journal still holds the first one."""
        if self.version is None or cursor.epoch > self.epoch:
            return False
        next_version = self.entries[0].version if self.entries else self.version + 1
        return cursor.version + 1 == next_version


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
        self,
        chat_id: UUID,
        *,
        owner_id: str | None,
        since: int = 0,
        max_bytes: int = PAGE_BYTES,
    ) -> ChatSnapshot | None:
        """Return a chat with what a stream starts with. None: there is no such chat.

        The messages, of those from the id ``since`` on, the queue and the parts have about ``max_bytes``
        each, but one of them at least.
        """
        rows = await self._database.fetch(
            _Q["snapshot"], chat_id=chat_id, owner_id=owner_id, since=since, max_bytes=max_bytes
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
            asked=_asked(row["asked"] or {}),
        )

    async def updates_after(
        self, chat_id: UUID, cursor: Cursor, *, owner_id: str | None
    ) -> ChatUpdates | None:
        """Return what is new in a chat since a cursor, if anything is. None: there is no such chat."""
        (update,) = await self._updates([(chat_id, cursor)], owner_id=owner_id, unchanged_too=True)
        return None if update.version is None else update

    async def updates_since(
        self,
        cursors: Sequence[tuple[UUID, Cursor]],
        *,
        limit: int = _MAX_ENTRIES,
        max_bytes: int = PAGE_BYTES,
    ) -> list[ChatUpdates]:
        """Return what is new in several chats since their cursors, in one statement.

        At most ``limit`` entries of one chat, and about ``max_bytes`` of entries of all, but one entry at
        least. About as many bytes of the parts of each.
        """
        return await self._updates(cursors, limit=limit, max_bytes=max_bytes)

    async def _updates(
        self,
        cursors: Sequence[tuple[UUID, Cursor]],
        *,
        limit: int = _MAX_ENTRIES,
        max_bytes: int = PAGE_BYTES,
        owner_id: str | None = None,
        unchanged_too: bool = False,
    ) -> list[ChatUpdates]:
        rows = await self._database.fetch(
            _Q["updates_since"],
            chat_ids=[chat_id for chat_id, _ in cursors],
            versions=[cursor.version for _, cursor in cursors],
            epochs=[cursor.epoch for _, cursor in cursors],
            parts=[cursor.part for _, cursor in cursors],
            limit=limit,
            max_bytes=max_bytes,
            owner_id=owner_id,
            unchanged_too=unchanged_too,
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


def _asked(calls: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Mapping[str, Any]]:
    """Return the calls that are asked, with the moments of JSON as values."""
    return {
        call_id: {
            **call,
            "expires_at": call["expires_at"] and records.timestamp(call["expires_at"]),
        }
        for call_id, call in calls.items()
    }


def _batches_after(row: asyncpg.Record, cursor: Cursor) -> tuple[PartBatch, ...]:
    """Return the parts after the cursor as one batch, or none."""
    if not row["batches"]:
        return ()
    known = cursor.part if cursor.epoch == row["epoch"] else 0
    after = max(known, row["settled_part"])
    parts = records.parts_after(after, row["batches"])
    return (PartBatch(row["id"], row["epoch"], after + 1, parts),) if parts else ()
