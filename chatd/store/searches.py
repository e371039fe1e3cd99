"""Searches: lists of chats with filters that no index has, so that a page may read the whole list.

They share the pool with everything else, and are bounded three times, so that no owner's searches keep
others waiting: how many run at once of one owner, and of all owners, and for how long each may run.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from chatd.domain.errors import SearchUnavailable, TooManySearches
from chatd.store.database import Database
from chatd.store.sql import Query
from chatd.supervision.keyed_slots import KeyedSlots, SlotsTaken

_WAIT_SECONDS: Final = 1.0
"""Time that a search waits for others to end, of its owner and of all, before it is refused."""
_ALL_OWNERS: Final = ""


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
        self._timeout_seconds = timeout_seconds
        shared = min(max_running, max(1, database.pool_size - 1))
        self._owner_slots = KeyedSlots(max_per_owner, wait_seconds=wait_seconds)
        self._shared_slots = KeyedSlots(lambda: shared, wait_seconds=wait_seconds)

    async def fetch(
        self, owner_id: str, query: Query, /, **values: object
    ) -> Sequence[asyncpg.Record]:
        """Run a search of this owner.

        Raises:
            TooManySearches: others of this owner take too long.
            SearchUnavailable: the search itself takes too long, or those of other owners do.
        """
        async with (
            _taken(self._owner_slots, owner_id, TooManySearches),
            _taken(self._shared_slots, _ALL_OWNERS, SearchUnavailable),
        ):
            try:
                return await self._database.fetch_within(self._timeout_seconds, query, **values)
            except TimeoutError:
                raise SearchUnavailable from None


@asynccontextmanager
async def _taken(slots: KeyedSlots, key: str, refusal: type[Exception]) -> AsyncIterator[None]:
    try:
        slot = await slots.take(key)
    except SlotsTaken:
        raise refusal from None
    try:
        yield
    finally:
        slot.release()
