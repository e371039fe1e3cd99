"""Sessions of open streams: limited per owner, and ended with the credential that opened them."""

import asyncio
import math
from collections.abc import Callable
from typing import Final

import anyio

from chatd.api.auth.identity import Grant
from chatd.api.errors.problems import HttpProblem
from chatd.domain.outcomes import StreamEndReason

_MIN_AGE_SECONDS: Final = 30.0
"""Age from which a stream may be replaced. Clients that are all alive then take turns, not more often."""


class StreamSession:
    """Permission of one open stream: it counts until it is closed, and ends with its grant.

    ``topic`` is what the stream is about.
    """

    def __init__(self, topic: object, on_close: Callable[["StreamSession"], None]) -> None:
        self.topic = topic
        self.opened_at = anyio.current_time()
        self._end_reason: StreamEndReason | None = None
        self._end_callback: Callable[[StreamEndReason], None] | None = None
        self._on_close = on_close

    def on_end(self, callback: Callable[[StreamEndReason], None]) -> None:
        """Call ``callback`` once the stream must end, or at once if it must end already."""
        self._end_callback = callback
        if self._end_reason is not None:
            callback(self._end_reason)

    def end(self, reason: StreamEndReason = StreamEndReason.REVOKED) -> None:
        """Have the stream end, for instance because its grant has ended."""
        self._end_reason = reason
        if self._end_callback is not None:
            self._end_callback(reason)

    def close(self) -> None:
        """Count the stream as closed."""
        self._on_close(self)


class StreamSessions:
    """The open streams of this process, at most ``max_per_owner`` of each owner (0: unlimited)."""

    def __init__(self, *, max_per_owner: Callable[[], int]) -> None:
        self._max_per_owner = max_per_owner
        self._sessions: dict[str, dict[StreamSession, None]] = {}
        """Open sessions by owner, in the order in which they were opened."""

    def start(self, grant: Grant, owner_id: str, topic: object, *, resumes: bool) -> StreamSession:
        """Return a session that counts for the owner until it is closed. Raises ``HttpProblem`` (429).

        A client whose connection was cut resumes from a cursor (``resumes``) before the server knows that
        the old connection is dead. So at the limit such a stream replaces the oldest one of its topic.
        """
        sessions = self._sessions.setdefault(owner_id, {})
        max_streams = self._max_per_owner()
        if max_streams and len(sessions) >= max_streams:
            replaced = _replaceable(sessions, topic) if resumes else None
            if replaced is None:
                raise HttpProblem(
                    "too_many_streams",
                    f"You have {max_streams} streams open, and may not open more (limits.max_streams).",
                )
            replaced.end(StreamEndReason.REPLACED)
            replaced.close()
        timer: asyncio.TimerHandle | None = None

        def close(session: StreamSession) -> None:
            if timer is not None:
                timer.cancel()
            grant.end_callbacks.discard(session.end)
            sessions = self._sessions.get(owner_id, {})
            sessions.pop(session, None)
            if not sessions:
                self._sessions.pop(owner_id, None)

        session = StreamSession(topic, close)
        self._sessions.setdefault(owner_id, {})[session] = None
        grant.end_callbacks.add(session.end)
        if grant.ended:
            session.end()
        elif grant.expires_at < math.inf:
            timer = asyncio.get_running_loop().call_at(grant.expires_at, session.end)
        return session


def _replaceable(sessions: dict[StreamSession, None], topic: object) -> StreamSession | None:
    """Return the oldest session of this topic, if it is old enough."""
    oldest = next((session for session in sessions if session.topic == topic), None)
    if oldest is None or anyio.current_time() - oldest.opened_at < _MIN_AGE_SECONDS:
        return None
    return oldest
