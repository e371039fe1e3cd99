"""Actor that samples the metrics of this process for the charts of the last hour."""

from chatd.supervision.child import ChildHandle
from chatd.supervision.periodic import Periodic
from chatd.telemetry.history import SAMPLE_SECONDS, MetricsHistory


class HistorySampler:
    """Actor that adds a sample to the history every ``SAMPLE_SECONDS``."""

    def __init__(self, history: MetricsHistory) -> None:
        self._history = history
        self._loop = Periodic(self.step, interval_seconds=SAMPLE_SECONDS, jitter=0)

    async def step(self) -> None:
        """Add one sample."""
        self._history.sample()

    async def run(self, child: ChildHandle) -> None:
        await self._loop.run(child)
