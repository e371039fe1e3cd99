"""What operators want to know of all processes together."""

from collections.abc import Mapping
from dataclasses import dataclass

from chatd.domain.chat import Status
from chatd.store import sql
from chatd.store.pool import Database

_Q = sql.load("census")

SMALL_TABLE_BYTES = 16 * 1024 * 1024
"""Of a table of chats that is counted exactly: some thirty thousand chats, a few milliseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How many chats there are, and who works on them."""

    chats: Mapping[Status, int]
    oldest_pending_seconds: float | None
    """None: nothing is pending."""
    workers: int
    server_version: str


class Census:
    """Counts without reading more than indexes."""

    def __init__(
        self, database: Database, *, silent_seconds: float, small_bytes: int = SMALL_TABLE_BYTES
    ) -> None:
        self._database = database
        self._silent_seconds = silent_seconds
        self._small_bytes = small_bytes

    async def take(self) -> Count:
        row = await self._database.fetchrow(_Q["census"], self._silent_seconds, self._small_bytes)
        assert row is not None  # noqa: S101 - an aggregate returns one row
        return Count(
            chats={status: row[status] for status in Status},
            oldest_pending_seconds=row["oldest_pending"],
            workers=row["workers"],
            server_version=row["server_version"],
        )
