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


class Budget:
    """So many restarts in any window of so many seconds."""

    def __init__(self, *, restarts: int, window_seconds: float, clock: Callable[[], float]) -> None:
        self.restarts = restarts
        self.window_seconds = window_seconds
        self._clock = clock
        self._spent: deque[float] = deque()

    @property
    def left(self) -> int:
        expired = self._clock() - self.window_seconds
        while self._spent and self._spent[0] < expired:
            self._spent.popleft()
        return self.restarts - len(self._spent)

    def spend(self) -> bool:
        """Take one restart; False when none is left."""
        if self.left == 0:
            return False
        self._spent.append(self._clock())
        return True

    def exceeded(self, child: str, last: Exception) -> RestartBudgetExceeded:
        """What to raise when none was left, caused by the failure that found none."""
        error = RestartBudgetExceeded(
            child=child, restarts=self.restarts, window_seconds=self.window_seconds
        )
        error.__cause__ = last
        return error


class Backoff:
    """Delays that double up to a limit, each cut by up to half so that no two march in step."""

    def __init__(
        self, *, first_seconds: float, max_seconds: float, random: Callable[[], float]
    ) -> None:
        self._first = first_seconds
        self._max = max_seconds
        self._random = random
        self._next = first_seconds

    def next(self) -> float:
        delay = min(self._next, self._max)
        self._next = min(2 * delay, self._max)
        return delay * (1 - self._random() / 2)

    def reset(self) -> None:
        self._next = self._first
