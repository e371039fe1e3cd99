"""Rate limit: one token bucket for each owner."""

from collections.abc import Callable

_SWEEP_THRESHOLD = 10_000
"""Number of stored buckets from which full ones are removed."""

_EPSILON = 1e-4
"""Tolerance, in tokens, for the floating-point resolution of the monotonic clock.

The clock is that coarse at 27,000 tokens a second after it has run for a year.
"""


class TokenBuckets:
    """Token buckets that refill with ``per_second`` tokens a second and hold as many (0: unlimited).

    ``per_second`` is called for each request, so a reload applies to the next one.

    A bucket is stored as its deficit at its last request. The refill since then is computed, so
    nothing runs between requests. The caller passes the time.
    """

    def __init__(self, *, per_second: Callable[[], int]) -> None:
        self._per_second = per_second
        self._buckets: dict[str, tuple[float, float]] = {}
        self._sweep_at = _SWEEP_THRESHOLD

    def take(self, owner_id: str, now: float) -> float:
        """Take one token of this owner. Return 0.0, or the seconds to wait if there is none."""
        per_second = self._per_second()
        if not per_second:
            return 0.0
        deficit = 1 + _deficit(self._buckets.get(owner_id, (0.0, now)), now, per_second)
        excess = deficit - per_second
        if excess > _EPSILON:
            return excess / per_second
        if len(self._buckets) >= self._sweep_at:
            self._sweep(now, per_second)
        self._buckets[owner_id] = (deficit, now)
        return 0.0

    def _sweep(self, now: float, per_second: int) -> None:
        """Remove full buckets. The next sweep is due at twice what is left, so that sweeps stay rare."""
        self._buckets = {
            owner_id: bucket
            for owner_id, bucket in self._buckets.items()
            if _deficit(bucket, now, per_second) > 0.0
        }
        self._sweep_at = max(_SWEEP_THRESHOLD, 2 * len(self._buckets))


def _deficit(bucket: tuple[float, float], now: float, per_second: int) -> float:
    """Return the number of tokens that the bucket lacks now."""
    last_deficit, last_at = bucket
    return max(last_deficit - (now - last_at) * per_second, 0.0)
