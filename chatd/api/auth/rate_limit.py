"""How often each owner may ask: a bucket of tokens for everyone."""

_SWEEP_THRESHOLD = 10_000
"""So many owners are kept before those whose bucket is full again are forgotten."""

_EPSILON = 1e-4
"""Of a token. The clock is that coarse at 27,000 tokens a second after it has run for a year."""


class TokenBuckets:
    """``per_second`` requests of each owner, and as many at once after a pause of a second.

    A bucket is kept as what it lacked when it was asked last: what has dripped in since is taken off, and
    no request may make it lack more than all. The caller says what time it is. ``per_second`` 0:
    unlimited.
    """

    def __init__(self, *, per_second: int = 500) -> None:
        self.per_second = per_second
        """It may be changed at any time."""
        self._buckets: dict[str, tuple[float, float]] = {}
        self._sweep_at = _SWEEP_THRESHOLD

    def take(self, owner_id: str, now: float) -> float:
        """Seconds to wait before asking again; 0.0: go ahead, one token was taken."""
        if not self.per_second:
            return 0.0
        lacks = 1 + self._deficit(self._buckets.get(owner_id, (0.0, now)), now)
        over = lacks - self.per_second
        if over > _EPSILON:
            return over / self.per_second
        if len(self._buckets) >= self._sweep_at:
            self._buckets = {
                name: bucket
                for name, bucket in self._buckets.items()
                if self._deficit(bucket, now) > 0.0
            }
            self._sweep_at = max(
                _SWEEP_THRESHOLD, 2 * len(self._buckets)
            )  # or many would be walked each time
        self._buckets[owner_id] = (lacks, now)
        return 0.0

    def _deficit(self, bucket: tuple[float, float], now: float) -> float:
        """Tokens that are missing now."""
        lacked, asked_at = bucket
        return max(lacked - (now - asked_at) * self.per_second, 0.0)
