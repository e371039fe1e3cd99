"""Database access: pooled statements, and dedicated connections for LISTEN and session locks.

Every statement is its own transaction. Pooled connections carry no session state, so that releasing one
costs no round trip. Errors that mean that the database cannot be reached become ``DatabaseUnavailable``
in ``database_errors``. Actors wait until it is back, and the API responds with 503.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from time import monotonic
from typing import Any, Final, TypeAlias, overload

import asyncpg
from anyio import fail_after, move_on_after
from pydantic_core import from_json, to_json

from chatd.domain.errors import DatabaseUnavailable
from chatd.store.connector import Connection, Connector
from chatd.store.database_errors import repeat_while_busy, translate_errors
from chatd.store.sql import Query

PooledConnection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"

_RELEASE_TIMEOUT_SECONDS: Final = 1.0
"""Time in which a server must confirm that it cancelled a statement. Then the connection is closed."""


def _encode_json(value: Any) -> str:
    return to_json(value).decode()


async def _register_jsonb_codec(connection: Connection) -> None:
    await connection.set_type_codec(
        "jsonb", encoder=_encode_json, decoder=from_json, schema="pg_catalog", format="text"
    )


async def _skip_reset(_connection: object) -> None:
    """Skip asyncpg's reset between users: no statement of chatd changes the session state."""


class Database:
    """Pool of connections, and source of dedicated ones."""

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
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self.statement_count = 0
        """Statements sent through the pool since the start, so that tests can count what a step costs."""
        self.connections_in_use = 0
        """Connections that run a statement at the moment."""
        self.waiting_statements = 0
        """Statements that wait for a connection at the moment."""
        self.wait_seconds_total = 0.0
        """Seconds for which statements have waited for a connection, since the start."""

    async def open(self) -> None:
        """Create the pool. It connects at its first use, so the database may be unavailable."""
        self._pool = await asyncpg.create_pool(
            connect=self._connector.connect,
            min_size=0,
            max_size=self.pool_size,
            init=_register_jsonb_codec,
            reset=_skip_reset,
        )

    async def close(self, timeout_seconds: float = 5.0) -> None:
        """Wait up to ``timeout_seconds`` for statements in flight, then close the pool."""
        if self._pool is None:
            return
        with move_on_after(timeout_seconds, shield=True) as scope:
            await self._pool.close()
        if scope.cancelled_caught:
            self._pool.terminate()
        self._pool = None

    async def expire_connections(self) -> None:
        """Have the pool replace its connections, because after an outage an idle one may be dead."""
        if self._pool is not None:
            with translate_errors():
                await self._pool.expire_connections()

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

    async def _fetch_once(self, text: str, args: tuple[object, ...]) -> Sequence[asyncpg.Record]:
        if self._pool is None:
            raise DatabaseUnavailable
        self.statement_count += 1
        with translate_errors():
            connection = await self._pooled_connection(self._pool)
            self.connections_in_use += 1
            try:
                return await connection.fetch(text, *args)
            finally:
                self.connections_in_use -= 1
                # A connection that cannot be released is closed. The result is not affected.
                with suppress(TimeoutError):
                    await self._pool.release(connection, timeout=_RELEASE_TIMEOUT_SECONDS)

    async def _pooled_connection(self, pool: "asyncpg.Pool[asyncpg.Record]") -> "PooledConnection":
        self.waiting_statements += 1
        started_at = monotonic()
        try:
            with fail_after(self._statement_timeout_seconds):
                return await pool.acquire()
        finally:
            self.waiting_statements -= 1
            self.wait_seconds_total += monotonic() - started_at

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

    @asynccontextmanager
    async def dedicated_connection(self) -> AsyncIterator[Connection]:
        """Open a connection that bypasses any pooler, for LISTEN and session locks."""
        with translate_errors(setting=self._direct_url_setting):
            connection = await self._direct_connector.connect()
        try:
            with translate_errors():
                await _register_jsonb_codec(connection)
            yield connection
        finally:
            connection.terminate()
