"""Availability of a server: whether it is worth a try now, and since when it is not."""

from collections.abc import Callable
from enum import StrEnum
from typing import Final

from chatd.supervision.backoff import Backoff

FIRST_PAUSE_SECONDS: Final = 30.0
"""Time for which a server that could not be connected is not tried again. It doubles each time."""
MAX_PAUSE_SECONDS: Final = 300.0
MAX_LOST_CONNECTIONS: Final = 3
"""Connections in a row that end without a result. Then the server is not started in a loop."""


class ServerState(StrEnum):
    """State of a server, as its actor has it."""

    IDLE = "idle"
    CONNECTING = "connecting"
    READY = "ready"
    FAILED = "failed"


class Availability:
    """Memory of failures to connect, so that not every turn waits for such a server."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        # Without jitter: each process tries servers of its own.
        self._backoff = Backoff(
            first_seconds=FIRST_PAUSE_SECONDS, max_seconds=MAX_PAUSE_SECONDS, random=lambda: 0.0
        )
        self._retry_at = 0.0
        self._lost_connections = 0
        self.reason = ""
        """Why the last try failed, in words. Empty: it did not."""

    @property
    def pause_seconds(self) -> float:
        """Seconds until the next try. 0: at any time."""
        return max(self._retry_at - self._now(), 0.0) if self.reason else 0.0

    def fail(self, reason: str) -> float:
        """Record a failure, and return the seconds until the next try."""
        pause = self._backoff.next_delay()
        self.reason, self._retry_at = reason, self._now() + pause
        return pause

    def lose_connection(self) -> bool:
        """Record that a connection was lost. Return whether the server cannot be used for that reason."""
        self._lost_connections += 1
        return self._lost_connections >= MAX_LOST_CONNECTIONS

    def connect(self) -> None:
        """Record a connection. It ends no series of lost ones, which a result does."""
        if not self._lost_connections:
            self.reset()

    def reset(self) -> None:
        """Forget all failures."""
        self._backoff.reset()
        self._lost_connections = 0
        self.reason, self._retry_at = "", 0.0
