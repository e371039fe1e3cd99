"""How often to forgive, and how long to wait before the next try."""

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
    """So many restarts in any window of so many seconds."""

    def __init__(self, *, restarts: int, window_seconds: float, clock: Callable[[], float]) -> None:
        self.restarts = restarts
        self.window_seconds = window_seconds
        self._clock = clock
        self._restart_times: deque[float] = deque()

    @property
    def left(self) -> int:
        expired = self._clock() - self.window_seconds
        while self._restart_times and self._restart_times[0] < expired:
            self._restart_times.popleft()
        return self.restarts - len(self._restart_times)

    def try_consume(self) -> bool:
        """Take one restart; False when none is left."""
        if self.left == 0:
            return False
        self._restart_times.append(self._clock())
        return True

    def to_error(self, child: str, cause: Exception) -> RestartBudgetExceeded:
        """What to raise when none was left, caused by the failure that found none."""
        error = RestartBudgetExceeded(
            child=child, restarts=self.restarts, window_seconds=self.window_seconds
        )
        error.__cause__ = cause
        return error


class Backoff:
    """Delays that double up to a limit, each cut by up to half so that no two march in step."""

    def __init__(
        self, *, first_seconds: float, max_seconds: float, random: Callable[[], float]
    ) -> None:
        self._first_seconds = first_seconds
        self._max_seconds = max_seconds
        self._random = random
        self._next_seconds = first_seconds

    def next_delay(self) -> float:
        delay = min(self._next_seconds, self._max_seconds)
        self._next_seconds = min(2 * delay, self._max_seconds)
        return delay * (1 - self._random() / 2)

    def reset(self) -> None:
        self._next_seconds = self._first_seconds
