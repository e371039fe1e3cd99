"""Whether a failed step is tried again, and when. Pure: the dice are handed in."""

from dataclasses import dataclass

from chatd.domain.failure import Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """At most ``max_attempts`` tries of one step; the waits double from ``backoff_seconds`` on."""

    max_attempts: int
    backoff_seconds: float
    backoff_max_seconds: float

    def delay(self, failure: Failure, *, attempts: int, jitter: float) -> float | None:
        """Seconds to wait after the ``attempts``-th try failed; None: do not try again.

        Half of the backoff is fixed and half is drawn (``jitter``, 0 to 1), so that chats that failed
        together do not come back together. What the provider asked for is the least that is waited;
        when it asks for more than ``backoff_max_seconds``, waiting would only hide the failure.
        """
        if not failure.retryable or attempts >= self.max_attempts:
            return None
        backoff = min(self.backoff_seconds * 2.0 ** min(attempts - 1, 30), self.backoff_max_seconds)
        drawn = backoff * (0.5 + 0.5 * jitter)
        if failure.retry_after_seconds is None:
            return drawn
        if failure.retry_after_seconds > self.backoff_max_seconds:
            return None
        return max(drawn, failure.retry_after_seconds)
