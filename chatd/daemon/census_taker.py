"""Asks the database now and then what it has, so that reading the metrics never waits for it.

An answer that is older than three rounds says nothing any more, and is not shown.
"""

from dataclasses import dataclass

import anyio

from chatd.domain.chat import Status
from chatd.domain.errors import DatabaseUnavailable
from chatd.store.census import DatabaseStats, StatsSnapshot
from chatd.supervision.actor import ChildHandle
from chatd.supervision.periodic import Periodic
from chatd.telemetry.instruments import LabelValues
from chatd.telemetry.metrics import DatabaseMetrics

_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Taken:
    """A count, and when that was on the loop's clock."""

    count: StatsSnapshot
    at: float


class CensusTaker:
    """Asks every ``census_seconds``; ``latest`` is the last answer, while it says something."""

    def __init__(
        self, census: DatabaseStats, metrics: DatabaseMetrics, *, census_seconds: float = 5.0
    ) -> None:
        self._census = census
        self._census_seconds = census_seconds
        self._taken: Taken | None = None
        self._loop = Periodic(
            self.step, interval_seconds=census_seconds, expected_errors=(DatabaseUnavailable,)
        )
        metrics.reachable.callback = lambda: float(self.latest is not None)
        metrics.chats.callback = self._chats
        metrics.oldest_pending.callback = self.oldest_pending_seconds
        metrics.workers.callback = lambda: self.latest.count.workers if self.latest else None

    @property
    def latest(self) -> Taken | None:
        taken = self._taken
        if taken is None or anyio.current_time() - taken.at > _ROUNDS * self._census_seconds:
            return None
        return taken

    async def step(self) -> None:
        try:
            self._taken = Taken(await self._census.collect(), anyio.current_time())
        except DatabaseUnavailable:
            self._taken = None
            raise

    async def run(self, child: ChildHandle) -> None:
        await self._loop.run(child)

    def oldest_pending_seconds(self) -> float | None:
        """It grows older while it is not looked at; 0: nothing is pending. None: not known."""
        taken = self.latest
        if taken is None:
            return None
        then = taken.count.oldest_pending_seconds
        return 0.0 if then is None else then + anyio.current_time() - taken.at

    def _chats(self) -> dict[LabelValues, float] | None:
        taken = self.latest
        return None if taken is None else {(s,): taken.count.chats[s] for s in Status}
