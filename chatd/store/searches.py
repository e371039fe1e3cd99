"""Searches: lists of chats with filters that no index has, so that a page may read the whole list.

They share the pool with everything else, and are bounded, so that they keep nothing else waiting: how many
run at once, and for how long each may run. How many one owner has is the API's to bound.
"""

from collections.abc import Sequence
from typing import Final

import asyncpg

from chatd.domain.errors import SearchUnavailable
from chatd.store.database import Database
from chatd.store.sql import Query
from chatd.supervision.keyed_slots import KeyedSlots, SlotsTaken

_WAIT_SECONDS: Final = 1.0
"""Time that a search waits for others to end before it is refused."""
_ALL: Final = ""


class Searches:
    """Runs at most ``max_running`` searches at once."""

    def __init__(
        self,
        database: Database,
        *,
        max_running: int = 4,
        timeout_seconds: float = 3.0,
        wait_seconds: float = _WAIT_SECONDS,
    ) -> None:
        self._database = database
        self._timeout_seconds = timeout_seconds
        shared = min(max_running, max(1, database.pool_size - 1))
        self._slots = KeyedSlots(lambda: shared, wait_seconds=wait_seconds)

    async def fetch(self, query: Query, /, **values: object) -> Sequence[asyncpg.Record]:
        """Run a search. Raises ``SearchUnavailable`` if it takes too long, or others do."""
        try:
            slot = await self._slots.take(_ALL)
        except SlotsTaken:
            raise SearchUnavailable from None
        try:
            return await self._database.fetch_within(self._timeout_seconds, query, **values)
        except TimeoutError:
            raise SearchUnavailable from None
        finally:
            slot.release()
