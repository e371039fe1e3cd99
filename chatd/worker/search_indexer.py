"""Search indexer: has the words of messages indexed, beside the transitions that store them.

Each process indexes the chats that it has changed itself, some seconds later, many at a time. What it had
not indexed when it ended, and what a server crash lost, is found by a walk through all chats, a part each
minute, by one of the processes.
"""

from collections.abc import Callable
from typing import Final

from chatd.domain.errors import DatabaseUnavailable
from chatd.fanout.changed_chats import ChangedChats
from chatd.store.message_search import MessageSearch
from chatd.store.sweeps import Sweeps
from chatd.supervision.child import ChildHandle
from chatd.supervision.periodic import Periodic
from chatd.telemetry.metrics import SearchMetrics
from chatd.worker.clock import loop_time

_INTERVAL_SECONDS: Final = 10.0
"""Time between two looks, so that messages of one chat come together. An idle look costs no statement."""
_MAX_CHATS: Final = 100
_MAX_MESSAGES: Final = 200
"""Chats and messages of one statement, which takes some 50 ms for messages of 40 words."""
_WALK_INTERVAL_SECONDS: Final = 60.0
_WALKS_PER_ROUND: Final = 60
"""Parts in which the walk reads all chats: within an hour."""
_PAGES: Final = 256
"""Pages of 8 kB that one statement of the walk reads."""
_TABLE: Final = "chats"


class SearchIndexer:
    """Actor that indexes messages every ten seconds, while there are any."""

    def __init__(
        self,
        search: MessageSearch,
        sweeps: Sweeps,
        changed: ChangedChats,
        *,
        metrics: SearchMetrics | None = None,
        clock: Callable[[], float] = loop_time,
    ) -> None:
        self._search = search
        self._sweeps = sweeps
        self._changed = changed
        self._metrics = metrics or SearchMetrics()
        self._clock = clock
        self._walks_at = 0.0
        self._loop = Periodic(
            self.step,
            interval_seconds=_INTERVAL_SECONDS,
            expected_errors=(DatabaseUnavailable,),
        )

    async def step(self) -> bool:
        """Index one batch. Return True if there is more."""
        if self._clock() >= self._walks_at:
            self._walks_at = self._clock() + _WALK_INTERVAL_SECONDS
            await self.walk()
        chat_ids = self._changed.take(_MAX_CHATS)
        if chat_ids:
            try:
                batch = await self._search.index(chat_ids, limit=_MAX_MESSAGES)
            except DatabaseUnavailable:
                self._changed.add(chat_ids)
                raise
            self._metrics.messages.add(amount=batch.messages)
            self._changed.add(batch.unfinished)
        return len(self._changed) > 0

    async def walk(self) -> None:
        """Find chats with messages that nobody has indexed, unless a process did in this minute."""
        turn = await self._sweeps.take(_TABLE, interval_seconds=0.8 * _WALK_INTERVAL_SECONDS)
        if turn is None or not turn.pages:
            return
        page = turn.next_page if turn.next_page < turn.pages else 0
        end = min(turn.pages, page + max(_PAGES, turn.pages // _WALKS_PER_ROUND))
        while page < end and len(self._changed) < _MAX_CHATS:
            last = min(page + _PAGES, end)
            self._changed.add(await self._search.unindexed(first_page=page, end_page=last))
            page = last
        await self._sweeps.advance(_TABLE, next_page=page)

    async def run(self, child: ChildHandle) -> None:
        """Repeat ``step`` until the stop."""
        await self._loop.run(child)
