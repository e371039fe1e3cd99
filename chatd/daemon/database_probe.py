"""The database probe: what /readyz says of the database, asked in the background.

A probe that waited for the database itself would be late exactly when it matters, and the more often it is
asked the more it would cost.
"""

from collections.abc import Awaitable, Callable
from typing import Final

import anyio

from chatd.domain.errors import DatabaseUnavailable
from chatd.supervision.child import ChildHandle
from chatd.supervision.periodic import Periodic

_INTERVAL_SECONDS: Final = 2.0
_MAX_AGE_SECONDS: Final = 6.0
"""Age from which an answer says nothing about now. A database that hangs is unavailable by then."""


class DatabaseProbe:
    """Actor that pings the database every ``interval_seconds``, by the connections of requests."""

    def __init__(
        self,
        ping: Callable[[], Awaitable[None]],
        *,
        interval_seconds: float = _INTERVAL_SECONDS,
        max_age_seconds: float = _MAX_AGE_SECONDS,
    ) -> None:
        self._ping = ping
        self._max_age_seconds = max_age_seconds
        self._answered_at: float | None = None
        self._loop = Periodic(self.step, interval_seconds=interval_seconds)

    @property
    def reachable(self) -> bool:
        """True if the last ping was answered, and not too long ago."""
        answered_at = self._answered_at
        return (
            answered_at is not None and anyio.current_time() - answered_at <= self._max_age_seconds
        )

    async def step(self) -> None:
        """Ping once, and note the outcome."""
        try:
            await self._ping()
        except DatabaseUnavailable:
            self._answered_at = None
        else:
            self._answered_at = anyio.current_time()

    async def run(self, child: ChildHandle) -> None:
        """Repeat ``step`` until the stop."""
        await self._loop.run(child)
