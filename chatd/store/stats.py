"""Figures of the whole database for operators."""

from collections.abc import Mapping
from dataclasses import dataclass

from chatd.domain.chat import Status
from chatd.store import sql
from chatd.store.database import Database
from chatd.telemetry.metrics import PENDING_STATES

_Q = sql.load("stats")

EXACT_COUNT_MAX_BYTES = 16 * 1024 * 1024
"""Size up to which the table of chats is counted exactly: some 30,000 chats, in a few milliseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatsSnapshot:
    """Counts of chats and workers at one moment."""

    chats: Mapping[Status, int]
    pending: Mapping[str, int]
    """Pending chats by what they wait for (``PENDING_STATES``)."""
    oldest_pending_seconds: float | None
    """Age of the longest pending chat. None: no chat is pending."""
    workers: int
    server_version: str


class DatabaseStats:
    """Store for figures that are read from indexes only."""

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
        """Return the present figures."""
        row = await self._database.fetchrow(
            _Q["collect"],
            lease_seconds=self._lease_seconds,
            exact_count_max_bytes=self._exact_count_max_bytes,
        )
        assert row is not None  # noqa: S101 - an aggregate returns one row
        return StatsSnapshot(
            chats={status: row[status] for status in Status},
            pending={state: row[f"pending_{state}"] for state in PENDING_STATES},
            oldest_pending_seconds=row["oldest_pending_seconds"],
            workers=row["workers"],
            server_version=row["server_version"],
        )
