"""Exponential backoff with jitter."""

from collections.abc import Callable


class Backoff:
    """Delays that double up to a limit, each shortened by up to half.

    The jitter keeps tasks that failed at the same moment from retrying at the same moment.
    """

    def __init__(
        self, *, first_seconds: float, max_seconds: float, random: Callable[[], float]
    ) -> None:
        self._first_seconds = first_seconds
        self._max_seconds = max_seconds
        self._random = random
        self._next_seconds = first_seconds

    def next_delay(self) -> float:
        """Return the seconds to wait before the next try, and double the delay after it."""
        delay = min(self._next_seconds, self._max_seconds)
        self._next_seconds = min(2 * delay, self._max_seconds)
        return delay * (1 - self._random() / 2)

    def reset(self) -> None:
        """Start from the first delay again."""
        self._next_seconds = self._first_seconds
