"""Restart budgets: how many restarts a supervisor allows in a sliding window."""

from collections import deque
from collections.abc import Callable


class RestartBudgetExceeded(Exception):
    """A child failed more often than its restart budget allows."""

    def __init__(self, *, child: str, restarts: int, window_seconds: float) -> None:
        super().__init__(f"{self.__doc__} ({child}: {restarts} in {window_seconds:g} s)")
        self.child = child
        self.restarts = restarts
        self.window_seconds = window_seconds


class RestartBudget:
    """At most ``restarts`` restarts in any ``window_seconds``."""

    def __init__(self, *, restarts: int, window_seconds: float, clock: Callable[[], float]) -> None:
        self.restarts = restarts
        self.window_seconds = window_seconds
        self._clock = clock
        self._restart_times: deque[float] = deque()

    @property
    def left(self) -> int:
        """Restarts that may still be consumed now."""
        expired = self._clock() - self.window_seconds
        while self._restart_times and self._restart_times[0] < expired:
            self._restart_times.popleft()
        return self.restarts - len(self._restart_times)

    def try_consume(self) -> bool:
        """Consume one restart. Return False if none is left."""
        if self.left == 0:
            return False
        self._restart_times.append(self._clock())
        return True

    def to_error(self, child: str, cause: Exception) -> RestartBudgetExceeded:
        """Return the exception that reports the spent budget, caused by the last failure."""
        error = RestartBudgetExceeded(
            child=child, restarts=self.restarts, window_seconds=self.window_seconds
        )
        error.__cause__ = cause
        return error
