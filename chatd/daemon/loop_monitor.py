"""A thread that notices when the event loop is blocked, and logs the stack that blocks it.

Whatever blocks the loop blocks everything: heartbeats, streams, the response to a probe. Code on the loop
can only tell afterwards that it was late, whereas a thread can look at the stack while it happens. The
thread reads one number that the loop writes, and never calls into the loop.

A thread that was late itself proves nothing: the process was stopped or frozen, or a library kept the
interpreter lock. Then it logs ``process.paused`` and gives the loop its full time again, so that it logs no
stack that blocked nothing.
"""

import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

import anyio
import structlog

from chatd.telemetry.metrics import ProcessMetrics

_log = structlog.get_logger()

_CHECKS_PER_THRESHOLD = 8
"""Checks per ``blocked_seconds``, by the thread and by the loop."""
_MAX_FRAMES = 30
"""Logged frames, from the innermost outwards."""


class LoopMonitor:
    """Monitor of the event loop that awaits ``run``; ``blocked_seconds`` is read anew at each check."""

    def __init__(self, *, blocked_seconds: Callable[[], float], metrics: ProcessMetrics) -> None:
        self._blocked_seconds = blocked_seconds
        self.lag_seconds = 0.0
        """Delay of the loop's last check."""
        self._metrics = metrics
        self._last_seen = time.monotonic()
        self._stopped = threading.Event()
        self._loop_thread = 0

    async def run(self) -> None:
        """Record, until cancelled, that the loop runs."""
        self._loop_thread, self._last_seen = threading.get_ident(), time.monotonic()
        thread = threading.Thread(target=self._watch, name="loop-monitor", daemon=True)
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
        return self._blocked_seconds() / _CHECKS_PER_THRESHOLD

    def _watch(self) -> None:
        """Check the loop until stopped. ``blocked_since`` is 0.0 while it is not blocked."""
        checked_at, blocked_since, log_after = time.monotonic(), 0.0, 0.0
        while not self._stopped.wait(self._check_interval_seconds):
            now, last_seen, last_checked = time.monotonic(), self._last_seen, checked_at
            checked_at, blocked_seconds = now, self._blocked_seconds()
            if now - last_checked > blocked_seconds:
                _log.warning("process.paused", seconds=round(now - last_checked, 3))
                self._last_seen, blocked_since = now, now if blocked_since else 0.0
            elif blocked_since and last_seen != blocked_since:
                _log.warning("loop.unblocked", seconds=round(last_seen - blocked_since, 3))
                blocked_since = 0.0
            elif now - last_seen > (log_after if blocked_since else blocked_seconds):
                blocked_since, log_after = last_seen, 2 * (now - last_seen)
                self._log_blocked(now - last_seen)

    def _log_blocked(self, seconds: float) -> None:
        """Log the stack of the loop. Repeated each time the wait has doubled: it may have changed."""
        frame = sys._current_frames().get(self._loop_thread)  # noqa: SLF001 - the documented way
        _log.error("loop.blocked", seconds=round(seconds, 3), frames=format_frames(frame))


def format_frames(frame: FrameType | None) -> list[str]:
    """Return file, line and function of each frame, innermost first, without any values."""
    frames: list[str] = []
    while frame is not None and len(frames) < _MAX_FRAMES:
        code = frame.f_code
        frames.append(f"{code.co_filename}:{frame.f_lineno} {code.co_qualname}")
        frame = frame.f_back
    return frames
