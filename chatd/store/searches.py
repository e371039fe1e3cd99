"""Searches: lists of chats with filters that no index has, so that a page may read the whole list.

They share the pool with everything else, and are bounded three times, so that no owner's searches keep
others waiting: how many run at once of one owner, and of all owners, and for how long each may run.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import anyio
import asyncpg

from chatd.domain.errors import SearchUnavailable, TooManySearches
from chatd.store.database import Database
from chatd.store.sql import Query

_WAIT_SECONDS: Final = 1.0
"""Time that a search waits for others to end, of its owner and of all, before it is refused."""


class Searches:
    """Runs searches, at most ``max_per_owner`` of one owner (0: unlimited) and ``max_running`` of all."""

    def __init__(
        self,
        database: Database,
        *,
        max_per_owner: Callable[[], int] = lambda: 0,
        max_running: int = 4,
        timeout_seconds: float = 3.0,
        wait_seconds: float = _WAIT_SECONDS,
    ) -> None:
        self._database = database
        self._max_per_owner = max_per_owner
        self._timeout_seconds = timeout_seconds
        self._wait_seconds = wait_seconds
        self._slots = anyio.Semaphore(min(max_running, max(1, database.pool_size - 1)))
        self._owners: dict[str, _Owner] = {}

    async def fetch(
        self, owner_id: str, query: Query, /, **values: object
    ) -> Sequence[asyncpg.Record]:
        """Run a search of this owner.

        Raises:
            TooManySearches: others of this owner take too long.
            SearchUnavailable: the search itself takes too long, or those of other owners do.
        """
        async with self._slot_of(owner_id), self._shared_slot():
            try:
                return await self._database.fetch_within(self._timeout_seconds, query, **values)
            except TimeoutError:
                raise SearchUnavailable from None

    @asynccontextmanager
    async def _slot_of(self, owner_id: str) -> AsyncIterator[None]:
        limit = self._max_per_owner()
        if not limit:
            yield
            return
        owner = self._owners.setdefault(owner_id, _Owner(limit))
        owner.users += 1
        try:
            async with _acquired(owner.slots, self._wait_seconds, TooManySearches):
                yield
        finally:
            owner.users -= 1
            if not owner.users:
                del self._owners[owner_id]

    @asynccontextmanager
    async def _shared_slot(self) -> AsyncIterator[None]:
        async with _acquired(self._slots, self._wait_seconds, SearchUnavailable):
            yield


class _Owner:
    """An owner with searches that run or wait. A reload of the limit applies once it has none."""

    def __init__(self, limit: int) -> None:
        self.slots = anyio.Semaphore(limit)
        self.users = 0


@asynccontextmanager
async def _acquired(
    slots: anyio.Semaphore, wait_seconds: float, refusal: type[Exception]
) -> AsyncIterator[None]:
    with anyio.move_on_after(wait_seconds) as scope:
        await slots.acquire()
    if scope.cancelled_caught:
        raise refusal
    try:
        yield
    finally:
        slots.release()
