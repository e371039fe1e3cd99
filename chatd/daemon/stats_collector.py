"""Asks the database now and then what it has, so that reading the metrics never waits for it.

An answer that is older than three rounds says nothing any more, and is not shown.
"""

from dataclasses import dataclass

import anyio

from chatd.domain.chat import Status
from chatd.domain.errors import DatabaseUnavailable
from chatd.store.stats import DatabaseStats, StatsSnapshot
from chatd.supervision.child import ChildHandle
from chatd.supervision.periodic import Periodic
from chatd.telemetry.instruments import LabelValues
from chatd.telemetry.metrics import DatabaseMetrics

_MAX_AGE_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class TimedStats:
    """A count, and when that was on the loop's clock."""

    stats: StatsSnapshot
    taken_at: float


class StatsCollector:
    """Asks every ``refresh_interval_seconds``; ``latest`` is the last answer, while it says something."""

    def __init__(
        self,
        database_stats: DatabaseStats,
        metrics: DatabaseMetrics,
        *,
        refresh_interval_seconds: float = 5.0,
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
        metrics.oldest_pending.callback = self.oldest_pending_seconds
        metrics.workers.callback = lambda: self.latest.stats.workers if self.latest else None

    @property
    def latest(self) -> TimedStats | None:
        taken = self._latest
        if (
            taken is None
            or anyio.current_time() - taken.taken_at
            > _MAX_AGE_ROUNDS * self._refresh_interval_seconds
        ):
            return None
        return taken

    async def step(self) -> None:
        try:
            self._latest = TimedStats(await self._database_stats.collect(), anyio.current_time())
        except DatabaseUnavailable:
            self._latest = None
            raise

    async def run(self, child: ChildHandle) -> None:
        await self._loop.run(child)

    def oldest_pending_seconds(self) -> float | None:
        """It grows older while it is not looked at; 0: nothing is pending. None: not known."""
        taken = self.latest
        if taken is None:
            return None
        then = taken.stats.oldest_pending_seconds
        return 0.0 if then is None else then + anyio.current_time() - taken.taken_at

    def _chats_by_status(self) -> dict[LabelValues, float] | None:
        taken = self.latest
        return None if taken is None else {(s,): taken.stats.chats[s] for s in Status}
