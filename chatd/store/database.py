"""The way to the database: pooled statements, and connections for those that need one of their own.

Every statement is its own transaction. Connections carry no state of a session, so that giving one
back costs no round trip. Whatever means "the database cannot be reached just now" is translated here
into ``DatabaseUnavailable``, once; callers wait it out, or answer 503.
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
    "cannot switch to state",  # a statement met the server's word that it ends the session
)
_RELEASE_TIMEOUT_SECONDS: Final = 1.0
"""What a server may take to confirm that it cancelled a statement; then the connection is dropped."""


_ACCESS_DENIED_ERRORS: Final = (
    asyncpg.InvalidCatalogNameError,
    asyncpg.InvalidAuthorizationSpecificationError,  # a wrong password too
    asyncpg.ClientConfigurationError,  # the URL itself
)
_UNSUPPORTED_PARAMETER_MESSAGE: Final = "unsupported startup parameter"
"""A pooler's word; its other troubles, which have the same code, pass."""


def is_unavailable(error: BaseException) -> bool:
    """Whether ``error`` says that the database is away, rather than that a statement is wrong."""
    if is_access_denied(error):
        return False
    if isinstance(error, _UNAVAILABLE_ERRORS):
        return True
    return isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError) and any(
        text in str(error) for text in _UNAVAILABLE_MESSAGES
    )


def is_access_denied(error: BaseException) -> bool:
    """Whether ``error`` says that the database does not let us in, however long we wait."""
    return isinstance(error, _ACCESS_DENIED_ERRORS) or (
        isinstance(error, asyncpg.ProtocolViolationError)
        and _UNSUPPORTED_PARAMETER_MESSAGE in str(error)
    )


@contextmanager
def translate_errors(*, setting: str = "database.url") -> Iterator[None]:
    """Raise ``DatabaseUnavailable`` for what means that the database is away.

    ``setting`` is the setting to look at when it does not let us in, for good: ``DatabaseAccessDenied``.
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
            ours = isinstance(error, asyncpg.ClientConfigurationError)
            why = str(error) if ours else f"the database does not let us in: {error}"
            raise DatabaseAccessDenied(f"{setting}: {why}") from error
        raise


def _encode_json(value: Any) -> str:
    return to_json(value).decode()


async def _register_jsonb_codec(connection: Connection) -> None:
    await connection.set_type_codec(
        "jsonb", encoder=_encode_json, decoder=from_json, schema="pg_catalog", format="text"
    )


async def _skip_reset(_connection: object) -> None:
    """No reset between users: no statement of ours changes the state of a session."""


class Database:
    """A pool of connections, and single ones."""

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
                "jit": "off",  # compiling a statement of a millisecond costs a hundred
            },
        }
        self.pool_size = pool_size
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self.statement_count = 0
        """Statements sent through the pool since the start: tests count what a step costs."""
        self.connections_in_use = 0
        """Connections that run a statement."""
        self.waiting_statements = 0
        """Statements that wait for a connection, a new one or one that is given back."""
        self.wait_seconds_total = 0.0
        """How long statements have waited so, since the start."""

    async def open(self) -> None:
        """Make the pool. It connects when it is first used, so this needs no database."""
        self._pool = await asyncpg.create_pool(
            self._dsn,
            min_size=0,
            max_size=self.pool_size,
            init=_register_jsonb_codec,
            reset=_skip_reset,
            **self._connect_options,
        )

    async def close(self, timeout_seconds: float = 5.0) -> None:
        """Wait for statements in flight, then close; after ``timeout_seconds`` close all the same."""
        if self._pool is None:
            return
        with move_on_after(timeout_seconds, shield=True) as scope:
            await self._pool.close()
        if scope.cancelled_caught:
            self._pool.terminate()
        self._pool = None

    async def expire_connections(self) -> None:
        """Have pooled connections made anew: after an outage an idle one may be dead and not know."""
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
        """All rows of one statement, in a transaction of its own.

        The wait for a free connection has the same limit as the statement: when the database answers
        nobody, those who queue for the pool must not wait for one timeout after the other.

        Raises:
            DatabaseAway: it cannot be reached; whether the statement took effect is then unknown.
        """
        text, args = query.bind(**values) if isinstance(query, Query) else (query, args)
        if self._pool is None:
            raise DatabaseUnavailable
        self.statement_count += 1
        with translate_errors():
            connection = await self._acquire(self._pool)
            self.connections_in_use += 1
            try:
                return await connection.fetch(text, *args)
            finally:
                self.connections_in_use -= 1
                # A connection that cannot be given back is dropped; the answer stays what it is.
                with suppress(TimeoutError):
                    await self._pool.release(connection, timeout=_RELEASE_TIMEOUT_SECONDS)

    async def _acquire(self, pool: "asyncpg.Pool[asyncpg.Record]") -> "PooledConnection":
        self.waiting_statements += 1
        began = monotonic()
        try:
            with fail_after(self._statement_timeout_seconds):
                return await pool.acquire()
        finally:
            self.waiting_statements -= 1
            self.wait_seconds_total += monotonic() - began

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
        """A connection of one's own, past any pooler: for LISTEN and for session locks."""
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
