"""Database access: pooled statements, and dedicated connections for LISTEN and session locks.

Every statement is its own transaction. Pooled connections carry no session state, so that releasing one
costs no round trip. Errors that mean that the database cannot be reached become ``DatabaseUnavailable``
in ``database_errors``. Actors wait until it is back, and the API responds with 503.

A statement costs some 35 us of Python, two thirds of it asyncpg's. The benchmark ``turns`` watches it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from contextvars import Context
from time import monotonic
from typing import Any, Final, TypeVar, overload

import asyncpg
from anyio import CancelScope, move_on_after

from chatd.domain.errors import DatabaseUnavailable
from chatd.store.codecs import register_codecs
from chatd.store.connector import Connection, Connector
from chatd.store.database_errors import repeat_while_busy, translate_errors
from chatd.store.pool import ConnectionPool
from chatd.store.sql import Query
from chatd.supervision.child import StopRequest

T = TypeVar("T")

_TASK_END_SECONDS: Final = 2.0
"""Time in which tasks end whose connections were closed. It includes closing one that was being opened."""


class Database:
    """Pool of connections, and source of dedicated ones.

    It owns the tasks of statements that no caller ends by its cancellation. They end with the pool.
    """

    def __init__(
        self,
        dsn: str,
        *,
        direct_dsn: str | None = None,
        pool_size: int = 10,
        connect_timeout_seconds: float = 10.0,
        statement_timeout_seconds: float = 10.0,
        current_urls: Callable[[], tuple[str, str | None] | None] = lambda: None,
    ) -> None:
        self._direct_url_setting = "database.direct_url" if direct_dsn else "database.url"
        self._statement_timeout_seconds = statement_timeout_seconds

        def connector(url: str, *, direct: bool) -> Connector:
            def current_url() -> str | None:
                urls = current_urls()
                return urls and ((direct and urls[1]) or urls[0])

            return Connector(
                url,
                connect_timeout_seconds=connect_timeout_seconds,
                statement_timeout_seconds=statement_timeout_seconds,
                current_url=current_url,
            )

        self._connector = connector(dsn, direct=False)
        self._direct_connector = (
            connector(direct_dsn, direct=True) if direct_dsn else self._connector
        )
        self.pool_size = pool_size
        self._pool: ConnectionPool | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self.statement_count = 0
        """Statements sent through the pool since the start, so that tests can count what a step costs."""
        self.wait_seconds_total = 0.0
        """Seconds for which statements have waited for a connection, since the start."""

    async def open(self) -> None:
        """Create the pool. It connects at its first use, so the database may be unavailable."""
        self._pool = ConnectionPool(self._connect, size=self.pool_size)

    async def _connect(self) -> Connection:
        connection = await self._connector.connect()
        try:
            await register_codecs(connection)
        except BaseException:
            connection.terminate()
            raise
        return connection

    @property
    def pool_limit(self) -> int:
        """Connections that the pool may have: ``pool_size``, or fewer if the server grants fewer."""
        return self._pool.limit if self._pool else self.pool_size

    @property
    def connections_in_use(self) -> int:
        """Connections that run a statement at the moment."""
        return self._pool.in_use_count if self._pool else 0

    @property
    def waiting_statements(self) -> int:
        """Statements that wait for a connection at the moment."""
        return self._pool.waiting_count if self._pool else 0

    async def close(self, timeout_seconds: float = 5.0) -> None:
        """Wait up to ``timeout_seconds`` for statements in flight, then close the pool."""
        if self._pool is None:
            return
        with move_on_after(timeout_seconds, shield=True) as scope:
            await self._pool.close()
        if scope.cancelled_caught:
            self._pool.terminate()
        self._pool = None
        with CancelScope(shield=True):
            await self._end_tasks()

    async def _end_tasks(self) -> None:
        """Wait for the tasks, whose connections are closed, and cancel those that open one."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_TASK_END_SECONDS)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_TASK_END_SECONDS)

    def start_task(
        self, work: Coroutine[Any, Any, T], *, context: Context | None = None
    ) -> asyncio.Task[T]:
        """Run ``work``, which sends statements, in a task that ends with the pool at the latest."""
        task = asyncio.create_task(work, context=context)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def run_to_end(self, work: Coroutine[Any, Any, T]) -> T:
        """Run ``work`` in such a task, to its end even if the caller is cancelled meanwhile."""
        return await asyncio.shield(self.start_task(work))

    async def expire_connections(self) -> None:
        """Have the pool replace its connections, because after an outage an idle one may be dead."""
        if self._pool is not None:
            self._pool.expire()

    @overload
    async def fetch(self, query: Query, /, **values: object) -> Sequence[asyncpg.Record]: ...

    @overload
    async def fetch(self, query: str, /, *args: object) -> Sequence[asyncpg.Record]: ...

    async def fetch(
        self, query: Query | str, /, *args: object, **values: object
    ) -> Sequence[asyncpg.Record]:
        """Run one statement in a transaction of its own, and return all its rows.

        The wait for a free connection has the same time-out as the statement: if the database does not
        respond, statements that wait for the pool must not wait for one time-out after the other.

        Raises:
            DatabaseUnavailable: it is then unknown if the statement was committed.
            DatabaseBusy: it was not committed.
        """
        text, args = query.bind(**values) if isinstance(query, Query) else (query, args)
        return await repeat_while_busy(lambda: self._fetch_once(text, args))

    async def fetch_within(
        self, timeout_seconds: float, query: Query, /, **values: object
    ) -> Sequence[asyncpg.Record]:
        """Run one statement that has less time than others. Raises ``TimeoutError`` when it is over."""
        text, args = query.bind(**values)
        try:
            return await self._fetch_once(text, args, timeout_seconds)
        except DatabaseUnavailable as error:
            if isinstance(error.__cause__, TimeoutError):
                raise TimeoutError from error
            raise

    async def _fetch_once(
        self, text: str, args: tuple[object, ...], timeout_seconds: float | None = None
    ) -> Sequence[asyncpg.Record]:
        if self._pool is None:
            raise DatabaseUnavailable
        self.statement_count += 1
        started_at = monotonic()
        with translate_errors():
            async with self._pool.connection(wait_seconds=self._statement_timeout_seconds) as one:
                self.wait_seconds_total += monotonic() - started_at
                return await one.fetch(text, *args, timeout=timeout_seconds)

    @overload
    async def fetchrow(self, query: Query, /, **values: object) -> asyncpg.Record | None: ...

    @overload
    async def fetchrow(self, query: str, /, *args: object) -> asyncpg.Record | None: ...

    async def fetchrow(
        self, query: Query | str, /, *args: object, **values: object
    ) -> asyncpg.Record | None:
        """Return the only row of one statement, or None."""
        text, args = query.bind(**values) if isinstance(query, Query) else (query, args)
        rows = await self.fetch(text, *args)
        return rows[0] if rows else None

    async def _connect_directly(self) -> Connection:
        with translate_errors(setting=self._direct_url_setting):
            try:
                return await self._direct_connector.connect()
            except asyncpg.TooManyConnectionsError:
                if self._pool is not None:
                    self._pool.yield_connection()
                raise

    @asynccontextmanager
    async def dedicated_connection(
        self, *, stop: StopRequest | None = None
    ) -> AsyncIterator[Connection]:
        """Open a connection that bypasses any pooler, for LISTEN and session locks.

        A request to ``stop`` ends the attempt to connect with ``DatabaseUnavailable``.
        """
        connection: Connection | None = None
        with (stop or StopRequest()).cancels():
            connection = await self._connect_directly()
        if connection is None:
            raise DatabaseUnavailable("The process stops before it is connected.")
        try:
            with translate_errors():
                await register_codecs(connection)
            yield connection
        finally:
            connection.terminate()
