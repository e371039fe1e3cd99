"""When to try again, and when to stop trying."""

import random
import time


class Backoff:
    """Waits that double from ``initial_seconds`` to ``max_seconds``, with jitter.

    ``retry_timeout_seconds`` is how long a silence of the server is borne; None: for ever.
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
        """The server is there, whatever it will say: patience is as at the start."""
        self._unanswered_since = None

    def on_progress(self) -> None:
        """It said something of use: the next wait is short again."""
        self._failures = 0

    def next_delay(self, min_seconds: float | None = None) -> float | None:
        """How long to wait before the next try; None: patience is out.

        ``min_seconds`` is what the server asked for.
        """
        now = time.monotonic()
        if self._unanswered_since is None:
            self._unanswered_since = now
        longest = min(self._max_seconds, self._initial_seconds * 2 ** min(self._failures, 30))
        self._failures += 1
        delay = max(min_seconds or 0.0, longest * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
        left = (
            None
            if self._retry_timeout_seconds is None
            else self._unanswered_since + self._retry_timeout_seconds - now
        )
        return delay if left is None or delay < left else None
