"""Retry policy: whether and when to retry a failed step. Pure: the caller passes the jitter."""

from dataclasses import dataclass

from chatd.domain.failure import Failure

MAX_WAIT_IN_TASK_SECONDS = 2.0
"""Longest backoff during which a task keeps its chat, and so a slot. To give the chat back and claim it
again costs two transitions, which a shorter wait is not worth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """At most ``max_attempts`` attempts of one step, with delays that double from ``backoff_seconds``."""

    max_attempts: int
    backoff_seconds: float
    backoff_max_seconds: float

    def delay(
        self, failure: Failure, *, attempts: int, jitter: float, remaining_seconds: float
    ) -> float | None:
        """Return the seconds to wait after the ``attempts``-th attempt failed. None: do not retry.

        Half of the backoff is fixed and half is scaled by ``jitter`` (0 to 1), so that chats that failed
        together do not retry together. The provider's Retry-After is the lower bound, also above
        ``backoff_max_seconds``. If it does not fit into the ``remaining_seconds`` of the turn, the turn
        fails at once: to wait would only hide the failure. A backoff of chatd's own ends with the turn.
        """
        if not failure.retryable or attempts >= self.max_attempts:
            return None
        backoff = min(self.backoff_seconds * 2.0 ** min(attempts - 1, 30), self.backoff_max_seconds)
        delay = min(backoff * (0.5 + 0.5 * jitter), max(remaining_seconds, 0.0))
        if failure.retry_after_seconds is None:
            return delay
        if failure.retry_after_seconds >= remaining_seconds:
            return None
        return max(delay, failure.retry_after_seconds)
