"""When to try again, and when to stop trying."""

import random
import time


class Backoff:
    """Waits that double from ``first_seconds`` to ``most_seconds``, with jitter.

    ``patience_seconds`` is how long a silence of the server is borne; None: for ever.
    """

    def __init__(
        self,
        patience_seconds: float | None,
        *,
        first_seconds: float = 0.1,
        most_seconds: float = 5.0,
    ) -> None:
        self._patience = patience_seconds
        self._first = first_seconds
        self._most = most_seconds
        self._failures = 0
        self._silent_since: float | None = None

    def answered(self) -> None:
        """The server is there, whatever it will say: patience is as at the start."""
        self._silent_since = None

    def progressed(self) -> None:
        """It said something of use: the next wait is short again."""
        self._failures = 0

    def wait_seconds(self, at_least: float | None = None) -> float | None:
        """How long to wait before the next try; None: patience is out.

        ``at_least`` is what the server asked for.
        """
        now = time.monotonic()
        if self._silent_since is None:
            self._silent_since = now
        longest = min(self._most, self._first * 2 ** min(self._failures, 30))
        self._failures += 1
        delay = max(at_least or 0.0, longest * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
        left = None if self._patience is None else self._silent_since + self._patience - now
        return delay if left is None or delay < left else None
