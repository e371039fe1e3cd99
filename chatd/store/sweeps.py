"""Sweeps: tables whose expired rows are deleted, a few pages at a time."""

from dataclasses import dataclass
from typing import Final

from chatd.store import sql
from chatd.store.database import Database

_Q = sql.load("sweeps")

JOURNAL: Final = "chat_events"
PARTS: Final = "chat_parts"
TOOL_OUTPUTS: Final = "chat_tool_outputs"
TOMBSTONES: Final = "chat_tombstones"
IDEMPOTENCY_KEYS: Final = "idempotency_keys"
MESSAGE_WORDS: Final = "chat_message_words"
SEARCH_POSITIONS: Final = "chat_search_positions"
EXPIRED_CHATS: Final = "chats_expires_idx"
"""The index by which chats are found that expire. The turn to delete them has its name."""


@dataclass(frozen=True, slots=True)
class SweepTurn:
    """The turn of this process to sweep a table of ``pages`` pages, from ``next_page`` on."""

    next_page: int
    pages: int


class Sweeps:
    """Store for sweeps. The name of a table is that of the query that deletes from it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, table: str, *, interval_seconds: float) -> SweepTurn | None:
        """Return a turn to sweep a table. None: a process had one within the interval."""
        row = await self._database.fetchrow(
            _Q["take"], table_name=table, interval_seconds=interval_seconds
        )
        return None if row is None else SweepTurn(row["next_page"], row["pages"])

    async def advance(self, table: str, *, next_page: int) -> None:
        """Record where the next sweep of a table begins."""
        await self._database.fetch(_Q["advance"], table_name=table, next_page=next_page)

    async def delete_expired(
        self,
        table: str,
        *,
        first_page: int,
        end_page: int,
        retention_seconds: float | None,
        limit: int,
    ) -> int:
        """Delete the rows that have expired, among those in some pages. Return how many.

        ``retention_seconds`` is None for a table whose rows have no age. At most ``limit`` entries of the
        journal are deleted, because some of them may be in other pages.
        """
        query = _Q[table]
        values = {
            "first_page": first_page,
            "end_page": end_page,
            "retention_seconds": retention_seconds,
            "limit": limit,
        }
        rows = await self._database.fetch(
            query, **{name: values[name] for name in query.parameters}
        )
        return len(rows)
