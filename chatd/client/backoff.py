"""Delays between attempts, and the end of retrying."""

import random
import time


class Backoff:
    """Delays that double from ``initial_seconds`` to ``max_seconds``, with jitter.

    Retrying ends ``retry_timeout_seconds`` after the first failure without a response. None: it never ends.
    """

    def __init__(
        self,
        retry_timeout_seconds: float | None,
        *,
        initial_seconds: float = 0.1,
        max_seconds: float = 5.0,
    ) -> None:
        self._retry_timeout_seconds = retry_timeout_seconds
        self._initial_seconds = initial_seconds
        self._max_seconds = max_seconds
        self._failures = 0
        self._unanswered_since: float | None = None

    def on_response(self) -> None:
        """Restart the timeout: the server responded, whatever the response is."""
        self._unanswered_since = None

    def on_progress(self) -> None:
        """Restart the delays at the initial one: the server sent data."""
        self._failures = 0

    def next_delay(self, min_seconds: float | None = None) -> float | None:
        """Return the seconds until the next attempt, at least ``min_seconds``. None: stop retrying."""
        now = time.monotonic()
        if self._unanswered_since is None:
            self._unanswered_since = now
        longest = min(self._max_seconds, self._initial_seconds * 2 ** min(self._failures, 30))
        self._failures += 1
        delay = max(min_seconds or 0.0, longest * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
        remaining = (
            None
            if self._retry_timeout_seconds is None
            else self._unanswered_since + self._retry_timeout_seconds - now
        )
        return delay if remaining is None or delay < remaining else None
