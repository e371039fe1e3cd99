"""The pool: connections that are opened on demand and shared by statements.

The server may grant fewer connections than the pool may have, because of its own limit or that of the role.
Then the pool shrinks to those it has, and its statements wait for one of them instead of failing. After a
while it tries to grow again.

A caller that finds no free connection first waits a moment for one of those that others use. To open one
takes longer than most statements, and its first executions of each statement cost more than all others.

A free connection costs 1 us: no scope, no task and no timer. (anyio's ``CapacityLimiter`` costs 7, and a
turn of the loop for each use.) The benchmark ``turns`` watches it.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from math import inf
from time import monotonic
from types import TracebackType
from typing import Final

import anyio
import asyncpg
import structlog

from chatd.store.connector import Connection, close_connection

_log = structlog.get_logger()

_IDLE_SECONDS: Final = 300.0
"""Time after which a connection that was not needed is closed."""
_GROW_AFTER_SECONDS: Final = 5.0
"""Time after a refused connection until the pool asks for another one."""
_OPEN_AFTER_SECONDS: Final = 0.01
"""Time for which a caller waits for a connection that others use or open before it opens one more."""
_SLOW_OPEN_SECONDS: Final = 0.5
"""Time after which another connection is opened besides one that is being opened."""
_TICKS_OF_LATE_LOOP: Final = 2
"""Ticks after which a late loop has seen what came before a timer: it looks at timers first."""


class ConnectionPool:
    """At most ``size`` connections. The one that was used last is used first."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[Connection]],
        *,
        size: int,
        grow_after_seconds: float = _GROW_AFTER_SECONDS,
        open_after_seconds: float = _OPEN_AFTER_SECONDS,
    ) -> None:
        self._connect = connect
        self._max_size = size
        self._grow_after_seconds = grow_after_seconds
        self._open_after_seconds = open_after_seconds
        self._idle: deque[tuple[Connection, float]] = deque()
        """Connections that wait for a statement, and the times since which they do, oldest first."""
        self._in_use: set[Connection] = set()
        self._expired: set[Connection] = set()
        """Connections in use that are not to be used again."""
        self._slots_taken = 0
        """Connections in use or being opened."""
        self._waiting: deque[anyio.Event] = deque()
        """Callers without a slot. The event of each is set when it has been given one."""
        self._takers: deque[asyncio.Future[Connection | None]] = deque()
        """Callers with a slot that wait for a connection, in their order. None: the pool is closed."""
        self._opening_since = -inf
        self._refused_at = 0.0
        self._closed = False
        self._all_returned = anyio.Event()
        self.limit = size
        """Connections that the server grants, as far as is known."""

    @property
    def open_count(self) -> int:
        """Connections that are open."""
        return len(self._idle) + len(self._in_use)

    @property
    def in_use_count(self) -> int:
        """Connections that run a statement."""
        return len(self._in_use)

    @property
    def waiting_count(self) -> int:
        """Callers that wait for a connection."""
        return len(self._waiting)

    def connection(self, *, wait_seconds: float) -> "PooledConnection":
        """Return a context that has a connection, once there is one.

        Raises ``TimeoutError`` after ``wait_seconds``. A statement that was cancelled or ran out
        of time costs its connection, because closing that in order cancels the statement on the server.
        """
        return PooledConnection(self, wait_seconds)

    def expire(self) -> None:
        """Use none of the present connections again."""
        self._expired |= self._in_use
        while self._idle:
            self._idle.pop()[0].terminate()

    def yield_connection(self) -> None:
        """Have one connection less, because another part of the process was refused its own."""
        if self.open_count <= 1:
            return
        self._shrink_to(self.open_count - 1)
        if self._idle:
            self._idle.popleft()[0].terminate()
        else:
            self._expired.add(next(iter(self._in_use - self._expired or self._in_use)))

    async def close(self) -> None:
        """Refuse further use, wait for the connections in use, and close all of them."""
        self._closed = True
        while self._waiting:
            self._waiting.popleft().set()
        while self._takers:
            self._takers.popleft().set_result(None)
        if self._in_use:
            await self._all_returned.wait()
        while self._idle:
            await close_connection(self._idle.pop()[0])

    def terminate(self) -> None:
        """Drop all connections at once."""
        self._closed = True
        self.expire()
        for connection in self._in_use:
            connection.terminate()

    # -- connections -----------------------------------------------------------------------------

    def take(self) -> "Connection | None":
        """Return a connection that is free now. None: ``wait_for`` one."""
        if self._closed or self._waiting or not self._idle or not self._has_free_slot():
            return None
        connection = self._take_idle()
        if connection is not None:
            self._slots_taken += 1
            self._in_use.add(connection)
        return connection

    async def wait_for(self) -> Connection:
        """Wait for a connection, or open one."""
        while True:
            await self._take_slot()
            try:
                connection = await self._wait_for_idle() or await self._open()
            except BaseException as error:
                has_others = self._has_others()
                self._give_slot()
                if isinstance(error, asyncpg.TooManyConnectionsError) and has_others:
                    self._shrink_to(self.open_count)
                    continue
                raise
            self._in_use.add(connection)
            self.limit = max(self.limit, self.open_count)
            return connection

    async def _wait_for_idle(self) -> "Connection | None":
        """Return an idle connection, or one that others give back soon. None: open one.

        One caller opens one at a time, so that a moment's burst does not leave many behind.
        """
        connection = self._take_idle()
        if connection is not None or not self._has_others():
            return connection
        turn: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        self._takers.append(turn)
        try:
            while not turn.done() and self._has_others():
                await asyncio.wait([turn], timeout=self._open_after_seconds)
                for _ in range(0 if turn.done() else _TICKS_OF_LATE_LOOP):
                    await asyncio.sleep(0)
                if monotonic() - self._opening_since > _SLOW_OPEN_SECONDS:
                    break
        except BaseException:
            if turn.done() and (connection := turn.result()) is not None:
                self._in_use.discard(connection)
                self._pass_on(connection)
            raise
        finally:
            if not turn.done():
                self._takers.remove(turn)
        if turn.done() and (connection := turn.result()) is not None:
            return connection
        if self._closed:
            raise asyncpg.InterfaceError("pool is closed")
        return None

    def _pass_on(self, connection: Connection) -> None:
        """Have the caller use a free connection that has waited longest, or keep it."""
        if self._takers and not self._closed:
            self._in_use.add(connection)
            self._takers.popleft().set_result(connection)
        else:
            self._idle.append((connection, monotonic()))
            if self._closed and not self._in_use:
                self._all_returned.set()

    async def _open(self) -> Connection:
        self._opening_since = monotonic()
        try:
            return await self._connect()
        finally:
            self._opening_since = -inf

    def _has_others(self) -> bool:
        """Return whether a connection is open, or being opened by a caller other than this one.

        A caller that has a slot asks before it gives the slot to one that waits. That one may be refused
        as well, and would send this one round again.
        """
        return bool(self._idle) or self._slots_taken > 1

    def _take_idle(self) -> "Connection | None":
        while self._idle:
            connection, _ = self._idle.pop()
            if not connection.is_closed():
                return connection
        return None

    def give_back(self, connection: Connection) -> bool:
        """Have a connection used by others. False: it is of no use, so ``discard`` it."""
        if connection.is_closed() or connection in self._expired:
            return False
        self._ended(connection)
        self._pass_on(connection)
        if self._idle and monotonic() - self._idle[0][1] > _IDLE_SECONDS:
            self._idle.popleft()[0].terminate()
        return True

    async def discard(self, connection: Connection) -> None:
        """Close a connection, and free its slot."""
        try:
            await close_connection(connection)
        finally:
            self._ended(connection)

    def _ended(self, connection: Connection) -> None:
        self._in_use.discard(connection)
        self._expired.discard(connection)
        self._give_slot()
        if self._closed and not self._in_use:
            self._all_returned.set()

    # -- slots: permissions to use or open a connection ---------------------------------------------

    async def _take_slot(self) -> None:
        if not self._closed and not self._waiting and self._has_free_slot():
            self._slots_taken += 1
            return
        turn = anyio.Event()
        if not self._closed:
            self._waiting.append(turn)
            try:
                await turn.wait()
            except BaseException:
                if turn.is_set():
                    self._give_slot()
                else:
                    self._waiting.remove(turn)
                raise
        if self._closed:
            raise asyncpg.InterfaceError("pool is closed")

    def _give_slot(self) -> None:
        self._slots_taken -= 1
        while self._waiting and self._has_free_slot():
            self._slots_taken += 1
            self._waiting.popleft().set()

    def _has_free_slot(self) -> bool:
        if self._slots_taken < self.limit:
            return True
        may_grow = (
            self.limit < self._max_size
            and monotonic() - self._refused_at >= self._grow_after_seconds
        )
        if may_grow:
            self._refused_at = monotonic()  # one more at a time
            self.limit += 1
        return may_grow

    def _shrink_to(self, limit: int) -> None:
        if self.limit == self._max_size:
            _log.warning("database.pool_shrunk", connections=max(1, limit), size=self._max_size)
        self.limit = max(1, limit)
        self._refused_at = monotonic()


class PooledConnection:
    """The use of one connection of a pool. It is entered once."""

    __slots__ = ("_connection", "_pool", "_wait_seconds")

    def __init__(self, pool: ConnectionPool, wait_seconds: float) -> None:
        self._pool = pool
        self._wait_seconds = wait_seconds

    async def __aenter__(self) -> Connection:
        connection = self._pool.take()
        if connection is None:
            with anyio.fail_after(self._wait_seconds):
                connection = await self._pool.wait_for()
        self._connection = connection
        return connection

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        reusable = error is None or isinstance(error, asyncpg.PostgresError)
        if not (reusable and self._pool.give_back(self._connection)):
            await self._pool.discard(self._connection)
