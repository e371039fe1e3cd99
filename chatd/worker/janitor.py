"""Janitor: deletes rows past their retention, a few pages of a table at a time, and chats that expire."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final

import anyio
import structlog

from chatd.domain.errors import DatabaseBusy, DatabaseUnavailable
from chatd.store import sweeps
from chatd.store.chats import Chats
from chatd.store.leases import Leases
from chatd.store.sweeps import Sweeps, SweepTurn
from chatd.supervision.child import ChildHandle
from chatd.supervision.periodic import Periodic

_log = structlog.get_logger()

_INTERVAL_SECONDS: Final = 60.0
"""Time between two sweeps of one table, by any process."""
_SWEEPS_PER_ROUND: Final = 60
"""Sweeps in which a table is read once: a row is deleted within an hour after it has expired."""
_PAGES: Final = 16
"""Pages of 8 kB that one statement reads, so that it takes a few milliseconds."""
_MAX_ROWS: Final = 300
"""Journal entries that one statement deletes, in some 30 ms when those of one chat are far apart."""
_MAX_CHATS: Final = 100
"""Expired chats that are found by one statement. Each is deleted by one of its own."""
_MAX_SWEEP_SECONDS: Final = 10.0
"""Time for one sweep. The next one goes on where it ended."""
_ADVANCE_SECONDS: Final = 2.0
"""Time for recording where it ended."""


class Janitor:
    """Actor that sweeps each table, and deletes expired chats, once a minute, unless another process does.

    A sweep that fails, or runs out of time, does not keep the others from running.
    """

    def __init__(
        self,
        sweeps_store: Sweeps,
        leases: Leases,
        chats: Chats,
        *,
        event_retention_days: float,
        idempotency_retention_hours: float,
        output_retention_days: Callable[[], float],
        lease_seconds: float,
    ) -> None:
        self._sweeps = sweeps_store
        self._chats = chats
        journal_seconds = event_retention_days * 86_400
        self._retention_seconds: Mapping[str, Callable[[], float | None]] = {
            sweeps.JOURNAL: lambda: journal_seconds,
            sweeps.TOMBSTONES: lambda: journal_seconds,
            sweeps.IDEMPOTENCY_KEYS: lambda: idempotency_retention_hours * 3_600,
            sweeps.TOOL_OUTPUTS: lambda: output_retention_days() * 86_400,
            sweeps.PARTS: lambda: None,
            sweeps.MESSAGE_WORDS: lambda: None,
            sweeps.SEARCH_POSITIONS: lambda: None,
        }
        self._prune_workers = partial(leases.prune_workers, max_silence_seconds=10 * lease_seconds)
        self._loop = Periodic(
            self.step,
            interval_seconds=_INTERVAL_SECONDS,
            expected_errors=(DatabaseUnavailable,),
        )

    async def step(self) -> None:
        """Sweep each table once, and delete expired chats.

        Raises the last ``DatabaseUnavailable``, when all have been tried.
        """
        failure: DatabaseUnavailable | None = None
        for table in self._retention_seconds:
            failure = await self._attempt(table, partial(self._sweep, table)) or failure
        failure = await self._attempt("chats", self._delete_expired_chats) or failure
        failure = await self._attempt("workers", self._prune_workers) or failure
        if failure is not None:
            raise failure

    async def run(self, child: ChildHandle) -> None:
        """Repeat ``step`` until the stop."""
        await self._loop.run(child)

    async def _attempt(
        self, table: str, sweep: Callable[[], Awaitable[None]]
    ) -> DatabaseUnavailable | None:
        """Run a sweep. Return that the database was unavailable, which ends as an outage."""
        try:
            with anyio.fail_after(_MAX_SWEEP_SECONDS):
                await sweep()
        except (TimeoutError, DatabaseBusy) as error:
            _log.warning(
                "janitor.sweep_failed", table=table, error=f"{type(error).__name__}: {error}"
            )
        except DatabaseUnavailable as error:
            return error
        return None

    async def _take(self, table: str) -> SweepTurn | None:
        # A little less than the interval: the loop's own is shorter at random.
        return await self._sweeps.take(table, interval_seconds=0.8 * _INTERVAL_SECONDS)

    async def _delete_expired_chats(self) -> None:
        if await self._take(sweeps.EXPIRED_CHATS) is None:
            return
        while await self._chats.delete_expired(limit=_MAX_CHATS) == _MAX_CHATS:
            pass

    async def _sweep(self, table: str) -> None:
        turn = await self._take(table)
        if turn is None or not turn.pages:
            return
        page = turn.next_page if turn.next_page < turn.pages else 0
        end = min(turn.pages, page + max(_PAGES, turn.pages // _SWEEPS_PER_ROUND))
        try:
            while page < end:
                await self._sweep_pages(table, page, min(page + _PAGES, end))
                page += _PAGES
        finally:
            # Also when it ran out of time, or else a part that takes too long would be tried forever.
            with anyio.CancelScope(shield=True), anyio.move_on_after(_ADVANCE_SECONDS):
                await self._sweeps.advance(table, next_page=min(page + _PAGES, end))

    async def _sweep_pages(self, table: str, first_page: int, end_page: int) -> None:
        deleted = _MAX_ROWS
        while deleted == _MAX_ROWS:
            deleted = await self._sweeps.delete_expired(
                table,
                first_page=first_page,
                end_page=end_page,
                retention_seconds=self._retention_seconds[table](),
                limit=_MAX_ROWS,
            )
