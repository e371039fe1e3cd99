"""Measures how late the event loop comes round: whatever is slow here is late for everybody."""

import anyio

from chatd.supervision.actor import Child
from chatd.telemetry.metrics import ProcessMetrics


class LoopLag:
    """Sleeps for ``every_seconds`` over and over, and counts what it took more."""

    def __init__(self, metrics: ProcessMetrics, *, every_seconds: float = 0.25) -> None:
        self._metrics = metrics
        self._every_seconds = every_seconds
        self.seconds = 0.0
        """The last one."""

    async def run(self, child: Child) -> None:
        child.ready()
        while not child.stopping.is_set():
            due = anyio.current_time() + self._every_seconds
            await child.pause(self._every_seconds)
            if not child.stopping.is_set():
                self.seconds = max(anyio.current_time() - due, 0.0)
                self._metrics.loop_lag.observe(self.seconds)
