"""Counts over the whole database, refreshed in the background so that reading the metrics never waits.

Stats that are older than three intervals describe the past, so they are not shown any more.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import anyio

from chatd.domain.chat import Status
from chatd.domain.errors import DatabaseUnavailable
from chatd.store.stats import DatabaseStats, StatsSnapshot
from chatd.supervision.child import ChildHandle
from chatd.supervision.periodic import Periodic
from chatd.telemetry.instruments import LabelValues
from chatd.telemetry.metrics import DatabaseMetrics

_MAX_AGE_INTERVALS = 3


@dataclass(frozen=True, slots=True)
class TimedStats:
    """Database stats, and their time on the clock of the event loop."""

    stats: StatsSnapshot
    taken_at: float


class StatsCollector:
    """Actor that reads the database stats every ``refresh_interval_seconds`` and serves the latest."""

    def __init__(
        self,
        database_stats: DatabaseStats,
        metrics: DatabaseMetrics,
        *,
        refresh_interval_seconds: float,
    ) -> None:
        self._database_stats = database_stats
        self._refresh_interval_seconds = refresh_interval_seconds
        self._latest: TimedStats | None = None
        self._loop = Periodic(
            self.step,
            interval_seconds=refresh_interval_seconds,
            expected_errors=(DatabaseUnavailable,),
        )
        metrics.reachable.callback = lambda: float(self.latest is not None)
        metrics.chats.callback = self._chats_by_status
        metrics.pending_chats.callback = self._pending_by_state
        metrics.oldest_pending.callback = self.oldest_pending_seconds
        metrics.workers.callback = lambda: self.latest.stats.workers if self.latest else None

    @property
    def latest(self) -> TimedStats | None:
        """The last stats, or None if there are none that are recent enough."""
        latest = self._latest
        if (
            latest is None
            or anyio.current_time() - latest.taken_at
            > _MAX_AGE_INTERVALS * self._refresh_interval_seconds
        ):
            return None
        return latest

    async def step(self) -> None:
        """Read the stats once. Raises ``DatabaseUnavailable``."""
        try:
            self._latest = TimedStats(await self._database_stats.collect(), anyio.current_time())
        except DatabaseUnavailable:
            self._latest = None
            raise

    async def run(self, child: ChildHandle) -> None:
        await self._loop.run(child)

    def oldest_pending_seconds(self) -> float | None:
        """Return the age of the oldest pending chat by now: 0.0 if there is none, None if unknown."""
        latest = self.latest
        if latest is None:
            return None
        age = latest.stats.oldest_pending_seconds
        return 0.0 if age is None else age + anyio.current_time() - latest.taken_at

    def pending_states(self) -> Mapping[str, int] | None:
        """Return the pending chats by what they wait for. None: they are not known."""
        latest = self.latest
        return None if latest is None else latest.stats.pending

    def _pending_by_state(self) -> dict[LabelValues, float] | None:
        latest = self.latest
        if latest is None:
            return None
        return {(state,): count for state, count in latest.stats.pending.items()}

    def _chats_by_status(self) -> dict[LabelValues, float] | None:
        latest = self.latest
        if latest is None:
            return None
        return {(status,): latest.stats.chats[status] for status in Status}
