"""A thread that notices when the event loop does not come round, and says what holds it.

Whatever blocks the loop blocks everything: heartbeats, streams, the answer to a probe. Code of the
loop itself can only tell afterwards that it was late; a thread can look at the stack while it
happens. It reads one number that the loop writes, and never calls into the loop.

A thread that did not come round itself knows nothing: the process was stopped or frozen, or a
library kept the interpreter to itself. Then ``process.paused`` is logged and the loop gets its time
anew, so that no innocent stack is accused.
"""

import sys
import threading
import time
from types import FrameType

import anyio
import structlog

from chatd.telemetry.metrics import ProcessMetrics

_log = structlog.get_logger()

_CHECKS_PER_THRESHOLD = 8
"""How often per ``blocked_seconds`` the thread looks, and the loop shows itself."""
_MAX_FRAMES = 30
"""Frames that are logged, from the innermost outwards."""


class LoopMonitor:
    """Watches the loop that ``run`` is awaited on. ``blocked_seconds`` may be changed meanwhile."""

    def __init__(
        self, *, blocked_seconds: float = 1.0, metrics: ProcessMetrics | None = None
    ) -> None:
        self.blocked_seconds = blocked_seconds
        self.lag_seconds = 0.0
        """How late the loop came round the last time."""
        self._metrics = metrics or ProcessMetrics()
        self._last_seen = time.monotonic()
        self._stopped = threading.Event()
        self._loop_thread = 0

    async def run(self) -> None:
        """Show, until cancelled, that the loop comes round."""
        self._loop_thread, self._last_seen = threading.get_ident(), time.monotonic()
        thread = threading.Thread(target=self._watch, name="loop-watch", daemon=True)
        thread.start()
        try:
            while True:
                self._last_seen = time.monotonic()
                due = self._last_seen + self._check_interval_seconds
                await anyio.sleep(self._check_interval_seconds)
                self.lag_seconds = max(time.monotonic() - due, 0.0)
                self._metrics.loop_lag.observe(self.lag_seconds)
        finally:
            self._stopped.set()
            thread.join()

    @property
    def _check_interval_seconds(self) -> float:
        return self.blocked_seconds / _CHECKS_PER_THRESHOLD

    def _watch(self) -> None:
        looked, blocked_at, tell_at = time.monotonic(), 0.0, 0.0
        while not self._stopped.wait(self._check_interval_seconds):
            now, seen, before = time.monotonic(), self._last_seen, looked
            looked = now
            if now - before > self.blocked_seconds:
                _log.warning("process.paused", seconds=round(now - before, 3))
                self._last_seen, blocked_at = now, now if blocked_at else 0.0
            elif blocked_at and seen != blocked_at:
                _log.warning("loop.unblocked", seconds=round(seen - blocked_at, 3))
                blocked_at = 0.0
            elif now - seen > (tell_at if blocked_at else self.blocked_seconds):
                blocked_at, tell_at = seen, 2 * (now - seen)
                self._log_blocked(now - seen)

    def _log_blocked(self, seconds: float) -> None:
        """Again each time the wait has doubled: what holds the loop may be another call by then."""
        frame = sys._current_frames().get(self._loop_thread)  # noqa: SLF001 - the documented way
        _log.error("loop.blocked", seconds=round(seconds, 3), frames=format_frames(frame))


def format_frames(frame: FrameType | None) -> list[str]:
    """Where the code is, innermost first: file, line and function, and nobody's values."""
    found: list[str] = []
    while frame is not None and len(found) < _MAX_FRAMES:
        code = frame.f_code
        found.append(f"{code.co_filename}:{frame.f_lineno} {code.co_qualname}")
        frame = frame.f_back
    return found
