"""Database access: pooled statements, and dedicated connections for LISTEN and session locks.

Every statement is its own transaction. Pooled connections carry no session state, so that releasing one
costs no round trip. Errors that mean that the database cannot be reached become ``DatabaseUnavailable``
here. Actors wait until it is back, and the API responds with 503.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from time import monotonic
from typing import Any, Final, TypeAlias, overload

import asyncpg
from anyio import fail_after, move_on_after
from pydantic_core import from_json, to_json

from chatd.domain.errors import DatabaseAccessDenied, DatabaseUnavailable
from chatd.store.sql import Query

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
PooledConnection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"

_UNAVAILABLE_ERRORS: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # shutdown, crash, starting up
    asyncpg.InsufficientResourcesError,  # too many connections, out of memory or disk
    asyncpg.ReadOnlySQLTransactionError,  # a standby answered: a failover is under way
    asyncpg.ConnectionDoesNotExistError,
)
_UNAVAILABLE_MESSAGES: Final = (
    "connection is closed",
    "connection was closed",
    "connection has been released",
    "pool is closing",
    "pool is closed",
    "cannot switch to state",  # the server ended the session while a statement was sent
)
_RELEASE_TIMEOUT_SECONDS: Final = 1.0
"""Time in which a server must confirm that it cancelled a statement. Then the connection is closed."""


_ACCESS_DENIED_ERRORS: Final = (
    asyncpg.InvalidCatalogNameError,
    asyncpg.InvalidAuthorizationSpecificationError,  # a wrong password too
    asyncpg.ClientConfigurationError,  # the URL itself
)
_UNSUPPORTED_PARAMETER_MESSAGE: Final = "unsupported startup parameter"
"""Message of a pooler. Its transient errors have the same code."""


def is_unavailable(error: BaseException) -> bool:
    """Return True if ``error`` means that the database cannot be reached just now."""
    if is_access_denied(error):
        return False
    if isinstance(error, _UNAVAILABLE_ERRORS):
        return True
    return isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError) and any(
        text in str(error) for text in _UNAVAILABLE_MESSAGES
    )


def is_access_denied(error: BaseException) -> bool:
    """Return True if ``error`` means that the database denies access, however long one waits."""
    return isinstance(error, _ACCESS_DENIED_ERRORS) or (
        isinstance(error, asyncpg.ProtocolViolationError)
        and _UNSUPPORTED_PARAMETER_MESSAGE in str(error)
    )


@contextmanager
def translate_errors(*, setting: str = "database.url") -> Iterator[None]:
    """Translate errors of asyncpg into ``DatabaseUnavailable`` and ``DatabaseAccessDenied``.

    ``setting`` is the setting that the latter names, as the one to check.
    """
    try:
        yield
    except (
        OSError,
        asyncpg.PostgresError,
        asyncpg.InterfaceError,
        asyncpg.InternalClientError,
    ) as error:
        if is_unavailable(error):
            raise DatabaseUnavailable(
                f"{DatabaseUnavailable.__doc__} ({type(error).__name__}: {error})"
            ) from error
        if is_access_denied(error):
            invalid_url = isinstance(error, asyncpg.ClientConfigurationError)
            reason = str(error) if invalid_url else f"the database denies access: {error}"
            raise DatabaseAccessDenied(f"{setting}: {reason}") from error
        raise


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
        application_name: str = "chatd",
    ) -> None:
        self._dsn = dsn
        self._direct_dsn = direct_dsn or dsn
        self._direct_url_setting = "database.direct_url" if direct_dsn else "database.url"
        self._statement_timeout_seconds = statement_timeout_seconds
        self._connect_options: dict[str, Any] = {
            "timeout": connect_timeout_seconds,
            "command_timeout": statement_timeout_seconds,
            "server_settings": {
                "application_name": application_name,
                "jit": "off",  # compiling a statement that runs for 1 ms takes 100 ms
            },
        }
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
            self._dsn,
            min_size=0,
            max_size=self.pool_size,
            init=_register_jsonb_codec,
            reset=_skip_reset,
            **self._connect_options,
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
        """
        text, args = query.bind(**values) if isinstance(query, Query) else (query, args)
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
            connection: Connection = await asyncpg.connect(
                self._direct_dsn, **self._connect_options
            )
        try:
            with translate_errors():
                await _register_jsonb_codec(connection)
            yield connection
        finally:
            connection.terminate()
