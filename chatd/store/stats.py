"""What operators want to know of all processes together."""

from collections.abc import Mapping
from dataclasses import dataclass

from chatd.domain.chat import Status
from chatd.store import sql
from chatd.store.database import Database

_Q = sql.load("stats")

EXACT_COUNT_MAX_BYTES = 16 * 1024 * 1024
"""Of a table of chats that is counted exactly: some thirty thousand chats, a few milliseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatsSnapshot:
    """How many chats there are, and who works on them."""

    chats: Mapping[Status, int]
    oldest_pending_seconds: float | None
    """None: nothing is pending."""
    workers: int
    server_version: str


class DatabaseStats:
    """Counts without reading more than indexes."""

    def __init__(
        self,
        database: Database,
        *,
        lease_seconds: float,
        exact_count_max_bytes: int = EXACT_COUNT_MAX_BYTES,
    ) -> None:
        self._database = database
        self._lease_seconds = lease_seconds
        self._exact_count_max_bytes = exact_count_max_bytes

    async def collect(self) -> StatsSnapshot:
        row = await self._database.fetchrow(
            _Q["collect"],
            lease_seconds=self._lease_seconds,
            exact_count_max_bytes=self._exact_count_max_bytes,
        )
        assert row is not None  # noqa: S101 - an aggregate returns one row
        return StatsSnapshot(
            chats={status: row[status] for status in Status},
            oldest_pending_seconds=row["oldest_pending_seconds"],
            workers=row["workers"],
            server_version=row["server_version"],
        )
