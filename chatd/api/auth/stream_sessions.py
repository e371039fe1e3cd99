"""Sessions of open streams: limited per owner, and ended with the credential that opened them."""

import asyncio
import math
from collections import Counter
from collections.abc import Callable

from chatd.api.auth.identity import Grant
from chatd.api.errors.problems import HttpProblem


class StreamSession:
    """Permission of one open stream: it counts until it is closed, and ends with its grant."""

    def __init__(self, on_close: Callable[["StreamSession"], None]) -> None:
        self.ended = False
        """True once the caller may not follow the stream any more."""
        self._end_callback: Callable[[], None] | None = None
        self._on_close = on_close

    def on_end(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once the stream must end, or at once if it must end already."""
        self._end_callback = callback
        if self.ended:
            callback()

    def end(self) -> None:
        """Have the stream end: its grant has ended."""
        self.ended = True
        if self._end_callback is not None:
            self._end_callback()

    def close(self) -> None:
        """Count the stream as closed."""
        self._on_close(self)


class StreamSessions:
    """The open streams of this process, at most ``max_per_owner`` of each owner (0: unlimited)."""

    def __init__(self, *, max_per_owner: Callable[[], int]) -> None:
        self._max_per_owner = max_per_owner
        self._open_counts: Counter[str] = Counter()

    def start(self, grant: Grant) -> StreamSession:
        """Return a session that counts until it is closed. Raises ``HttpProblem`` (429)."""
        owner_id = grant.identity.owner_id
        max_streams = self._max_per_owner()
        if max_streams and self._open_counts[owner_id] >= max_streams:
            raise HttpProblem(
                "too_many_streams",
                f"You have {max_streams} streams open, and may not open more (limits.max_streams).",
            )
        timer: asyncio.TimerHandle | None = None

        def close(session: StreamSession) -> None:
            if timer is not None:
                timer.cancel()
            grant.end_callbacks.discard(session.end)
            self._open_counts[owner_id] -= 1
            if not self._open_counts[owner_id]:
                del self._open_counts[owner_id]

        session = StreamSession(close)
        self._open_counts[owner_id] += 1
        grant.end_callbacks.add(session.end)
        if grant.ended:
            session.end()
        elif grant.expires_at < math.inf:
            timer = asyncio.get_running_loop().call_at(grant.expires_at, session.end)
        return session
