"""The open streams of each caller: how many there may be, and that they end with the caller's pass."""

import asyncio
import math
from collections import Counter
from http import HTTPStatus

from chatd.api.auth import Pass, Stay
from chatd.api.problems import BadRequest


class Stays:
    """The stays of this process. ``most`` is how many one owner may have (0: unlimited)."""

    def __init__(self, *, most: int = 1000) -> None:
        self.most = most
        self._open: Counter[str] = Counter()

    def begin(self, passed: Pass) -> Stay:
        """A stay, which counts until it is closed. Raises ``BadRequest`` (429)."""
        owner_id = passed.identity.owner_id
        if self.most and self._open[owner_id] >= self.most:
            raise BadRequest(
                "too_many_streams",
                f"You have {self.most} streams open, and may not open more (limits.max_streams).",
                HTTPStatus.TOO_MANY_REQUESTS,
            )
        timer: asyncio.TimerHandle | None = None

        def close(stay: Stay) -> None:
            if timer is not None:
                timer.cancel()
            passed.stays.discard(stay)
            self._open[owner_id] -= 1
            if not self._open[owner_id]:
                del self._open[owner_id]

        stay = Stay(close)
        self._open[owner_id] += 1
        passed.stays.add(stay)
        if passed.ended:
            stay.end()
        elif passed.until < math.inf:
            timer = asyncio.get_running_loop().call_at(passed.until, stay.end)
        return stay
