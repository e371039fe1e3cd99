"""How often each owner may ask: a bucket of tokens for everyone, in one number each."""

_FEW = 10_000
"""So many owners are kept before those whose bucket is full again are forgotten."""

_ROUNDING = 1e-6
"""Sums of many small steps are off by less than this, also on a clock that has run for a year."""


class Rates:
    """``per_second`` requests of each owner, and as many at once after a pause of a second.

    A bucket is kept as the moment at which it will be full again: each request moves that by the time
    that one token takes to drip in, and it may not be further away than the whole bucket takes. The
    caller says what time it is. ``per_second`` 0: unlimited.
    """

    def __init__(self, *, per_second: int = 500) -> None:
        self._per_second = per_second
        self._full_at: dict[str, float] = {}
        self._sweep_at = _FEW

    def take(self, owner_id: str, now: float) -> float:
        """Seconds to wait before asking again; 0.0: go ahead, one token was taken."""
        if not self._per_second:
            return 0.0
        full_at = max(self._full_at.get(owner_id, now), now) + 1 / self._per_second
        wait = full_at - now - 1.0
        if wait > _ROUNDING:
            return wait
        if len(self._full_at) >= self._sweep_at:
            self._full_at = {name: at for name, at in self._full_at.items() if at > now}
            self._sweep_at = max(_FEW, 2 * len(self._full_at))  # or many would be walked each time
        self._full_at[owner_id] = full_at
        return 0.0
