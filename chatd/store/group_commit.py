"""Group commit: statements of one kind that come at the same time go together, and commit once.

A statement costs PostgreSQL the start and the end of its plan, a commit and a round trip, for one row as
for many: sixteen messages in one cost less than three alone. An item waits for two ticks of the loop
without another item: microseconds if the loop has nothing else to do, and otherwise it could send no
earlier. Under load each statement takes what came while the last one was under way. None waits for a timer.
The benchmark ``turns`` watches it: statements and CPU of PostgreSQL per turn, 16 in flight.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextvars import Context
from typing import Any, Final, Generic, Protocol, TypeVar
from uuid import UUID

import asyncpg

from chatd.domain.errors import DatabaseUnavailable
from chatd.store.database import Database
from chatd.store.database_errors import is_caused_by_data, may_be_caused_by_size

MAX_ITEMS: Final = 32
"""Items of one statement, which holds the locks of all of them to its end. More would bring little more."""
MAX_TEXT_LENGTH: Final = 65_536
"""Characters of content of an item that goes with others, which wait for it."""
_ENOUGH_ITEMS: Final = 8
"""Items for which a statement waits. Waiting for more saves PostgreSQL little, and while all that there is
waits for one statement, this process has nothing to do."""
_QUIET_TICKS: Final = 2
"""Ticks of the loop without another item before a statement is sent. A request takes one from its bytes to
its item, so those that were read together have all come by then."""
_SLOW_SECONDS: Final = 0.25
"""Time after which those that wait go on without the statement under way, whose connection may be dead."""


class Item(Protocol):
    """One row of a statement, at most one for each chat."""

    @property
    def chat_id(self) -> UUID: ...


ItemT = TypeVar("ItemT", bound=Item)


def is_too_large(content: str, files: Sequence[object]) -> bool:
    """Return whether an item is to go alone. Others would wait, and a statement has files of one only."""
    return bool(files) or len(content) > MAX_TEXT_LENGTH


def array(values: list[Any]) -> list[Any] | None:
    """Return the values of all items, one element of an array each. None if there are none.

    ``unnest`` takes a missing array for nulls, and asyncpg makes two calls for each null in one.
    """
    return None if values.count(None) == len(values) else values


class Entry(Generic[ItemT]):
    """An item on its way, and its row once its statement has ended."""

    __slots__ = ("_error", "_row", "_waiter", "goes_again", "has_ended", "is_withdrawn", "item")

    def __init__(self, item: ItemT) -> None:
        self.item = item
        self.has_ended = False
        self.is_withdrawn = False
        """True if it is not to be sent, unless it was."""
        self.goes_again = False
        """True if the data of another item may have made its statement fail."""
        self._row: asyncpg.Record | None = None
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def row(self) -> asyncpg.Record | None:
        """The row, None if nothing was committed. Raises what the statement raised."""
        if self._error is not None:
            raise self._error
        return self._row

    async def wait(self) -> None:
        """Return once the statement has ended. One task waits at a time."""
        if not self.has_ended:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def end(self, row: asyncpg.Record | None = None, error: Exception | None = None) -> None:
        """Note the end of the statement. A second end changes nothing."""
        if self.has_ended:
            return
        self.has_ended, self._row, self._error = True, row, error
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class GroupCommit(Generic[ItemT]):
    """Items of one ``statement``, which returns a row with a ``chat_id`` for each that it committed.

    Of several items of one chat each goes in another statement, in their order.
    """

    def __init__(
        self,
        database: Database,
        statement: Callable[[Sequence[ItemT]], Awaitable[Sequence[asyncpg.Record]]],
    ) -> None:
        self._database = database
        self._statement = statement
        self._waiting: deque[Entry[ItemT]] = deque()
        self._sender: asyncio.Task[None] | None = None
        """The task that sends what waits, as long as there is anything."""

    async def run(self, item: ItemT, *, alone: bool = False) -> asyncpg.Record | None:
        """Return the row of the item, which is sent with others unless it is to go ``alone``.

        A caller that is cancelled does not cancel the statement. It withdraws an item that was not sent.
        If a statement of several items fails for what one of them may hold, each of them is sent alone.

        Raises what the statement raises.
        """
        entry = self.add(item, alone=alone)
        try:
            await entry.wait()
        except asyncio.CancelledError:
            entry.is_withdrawn = True
            raise
        return await self.run(item, alone=True) if entry.goes_again else entry.row

    def add(self, item: ItemT, *, alone: bool = False) -> Entry[ItemT]:
        """Have an item sent, whatever becomes of the caller, who waits for the end of the entry."""
        entry = Entry(item)
        if alone:
            self._database.start_task(self._send(entry))
        else:
            self._waiting.append(entry)
            if self._sender is None:
                self._start_sender()
        return entry

    def _start_sender(self) -> None:
        self._sender = self._database.start_task(self._send_waiting(), context=Context())
        self._sender.add_done_callback(self._refuse_waiting)

    def _refuse_waiting(self, sender: asyncio.Task[None]) -> None:
        if sender.cancelled():  # at the end of the process
            _refuse(self._waiting)

    async def _send_waiting(self) -> None:
        loop, me = asyncio.get_running_loop(), asyncio.current_task()
        while self._sender is me:
            await self._wait_for_quiet()
            batch = self._take()
            if not batch:
                self._sender = None
                return
            slow = loop.call_later(_SLOW_SECONDS, self._start_sender)
            try:
                await self._send(*batch)
            finally:
                slow.cancel()

    async def _wait_for_quiet(self) -> None:
        """Wait while items come, up to ``_ENOUGH_ITEMS``."""
        count, quiet_ticks = len(self._waiting), 0
        while 0 < count < _ENOUGH_ITEMS and quiet_ticks < _QUIET_TICKS:
            await asyncio.sleep(0)
            before, count = count, len(self._waiting)
            quiet_ticks = quiet_ticks + 1 if count == before else 0

    def _take(self) -> list[Entry[ItemT]]:
        """Take the items of the next statement from those that wait."""
        batch: dict[UUID, Entry[ItemT]] = {}
        later: list[Entry[ItemT]] = []
        while self._waiting and len(batch) < MAX_ITEMS:
            entry = self._waiting.popleft()
            if entry.is_withdrawn:
                continue
            if batch.setdefault(entry.item.chat_id, entry) is not entry:
                later.append(entry)
        self._waiting.extendleft(reversed(later))
        return list(batch.values())

    async def _send(self, *batch: Entry[ItemT]) -> None:
        """Send one statement, and give each item its row, or the error."""
        rows: dict[Any, asyncpg.Record] = {}
        try:
            for row in await self._statement([entry.item for entry in batch]):
                rows[row["chat_id"]] = row
        except asyncio.CancelledError:  # at the end of the process
            _refuse(batch)
            raise
        except Exception as error:  # noqa: BLE001 - raised by each caller
            if len(batch) > 1 and (is_caused_by_data(error) or may_be_caused_by_size(error)):
                for entry in batch:
                    entry.goes_again = True
            else:
                for entry in batch:
                    entry.end(error=error)
        for entry in batch:
            entry.end(rows.get(entry.item.chat_id))


def _refuse(entries: Iterable[Entry[Any]]) -> None:
    for entry in entries:
        entry.end(error=DatabaseUnavailable())
