"""The open streams of each caller: how many there may be, and that they end with the caller's pass."""

import asyncio
import math
from collections import Counter
from http import HTTPStatus

from chatd.api.auth.identity import Grant, StreamSession
from chatd.api.errors.problems import HttpProblem


class StreamSessions:
    """The stays of this process. ``max_per_owner`` is how many one owner may have (0: unlimited)."""

    def __init__(self, *, max_per_owner: int = 1000) -> None:
        self.max_per_owner = max_per_owner
        self._open_counts: Counter[str] = Counter()

    def start(self, grant: Grant) -> StreamSession:
        """A stay, which counts until it is closed. Raises ``HttpProblem`` (429)."""
        owner_id = grant.identity.owner_id
        if self.max_per_owner and self._open_counts[owner_id] >= self.max_per_owner:
            raise HttpProblem(
                "too_many_streams",
                f"You have {self.max_per_owner} streams open, and may not open more (limits.max_streams).",
                HTTPStatus.TOO_MANY_REQUESTS,
            )
        timer: asyncio.TimerHandle | None = None

        def close(stay: StreamSession) -> None:
            if timer is not None:
                timer.cancel()
            grant.stream_sessions.discard(stay)
            self._open_counts[owner_id] -= 1
            if not self._open_counts[owner_id]:
                del self._open_counts[owner_id]

        stay = StreamSession(close)
        self._open_counts[owner_id] += 1
        grant.stream_sessions.add(stay)
        if grant.ended:
            stay.end()
        elif grant.expires_at < math.inf:
            timer = asyncio.get_running_loop().call_at(grant.expires_at, stay.end)
        return stay
