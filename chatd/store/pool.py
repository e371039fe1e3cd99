"""The way to the database: pooled statements, and connections for those that need one of their own.

Every statement is its own transaction. Connections carry no state of a session, so that giving one
back costs no round trip. Whatever means "the database cannot be reached just now" is translated here
into ``DatabaseUnavailable``, once; callers wait it out, or answer 503.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from time import monotonic
from typing import Any, Final, TypeAlias

import asyncpg
from anyio import fail_after, move_on_after
from pydantic_core import from_json, to_json

from chatd.domain.errors import DatabaseAccessDenied, DatabaseUnavailable

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Pooled: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"

_AWAY: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # shutdown, crash, starting up
    asyncpg.InsufficientResourcesError,  # too many connections, out of memory or disk
    asyncpg.ReadOnlySQLTransactionError,  # a standby answered: a failover is under way
    asyncpg.ConnectionDoesNotExistError,
)
_AWAY_TEXTS: Final = (
    "connection is closed",
    "connection was closed",
    "connection has been released",
    "pool is closing",
    "pool is closed",
    "cannot switch to state",  # a statement met the server's word that it ends the session
)
_RELEASE_SECONDS: Final = 1.0
"""What a server may take to confirm that it cancelled a statement; then the connection is dropped."""


_REFUSED: Final = (
    asyncpg.InvalidCatalogNameError,
    asyncpg.InvalidAuthorizationSpecificationError,  # a wrong password too
    asyncpg.ClientConfigurationError,  # the URL itself
)
_REFUSED_TEXT: Final = "unsupported startup parameter"
"""A pooler's word; its other troubles, which have the same code, pass."""


def is_away(error: BaseException) -> bool:
    """Whether ``error`` says that the database is away, rather than that a statement is wrong."""
    if is_refused(error):
        return False
    if isinstance(error, _AWAY):
        return True
    return isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError) and any(
        text in str(error) for text in _AWAY_TEXTS
    )


def is_refused(error: BaseException) -> bool:
    """Whether ``error`` says that the database does not let us in, however long we wait."""
    return isinstance(error, _REFUSED) or (
        isinstance(error, asyncpg.ProtocolViolationError) and _REFUSED_TEXT in str(error)
    )


@contextmanager
def translated(*, key: str = "database.url") -> Iterator[None]:
    """Raise ``DatabaseUnavailable`` for what means that the database is away.

    ``key`` is the setting to look at when it does not let us in, for good: ``DatabaseAccessDenied``.
    """
    try:
        yield
    except (
        OSError,
        asyncpg.PostgresError,
        asyncpg.InterfaceError,
        asyncpg.InternalClientError,
    ) as error:
        if is_away(error):
            raise DatabaseUnavailable(
                f"{DatabaseUnavailable.__doc__} ({type(error).__name__}: {error})"
            ) from error
        if is_refused(error):
            ours = isinstance(error, asyncpg.ClientConfigurationError)
            why = str(error) if ours else f"the database does not let us in: {error}"
            raise DatabaseAccessDenied(f"{key}: {why}") from error
        raise


def _encode(value: Any) -> str:
    return to_json(value).decode()


async def _prepare(connection: Connection) -> None:
    await connection.set_type_codec(
        "jsonb", encoder=_encode, decoder=from_json, schema="pg_catalog", format="text"
    )


async def _keep_session(_connection: object) -> None:
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
        self._direct_key = "database.direct_url" if direct_dsn else "database.url"
        self._statement_timeout = statement_timeout_seconds
        self._connect: dict[str, Any] = {
            "timeout": connect_timeout_seconds,
            "command_timeout": statement_timeout_seconds,
            "server_settings": {
                "application_name": application_name,
                "jit": "off",  # compiling a statement of a millisecond costs a hundred
            },
        }
        self.pool_size = pool_size
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self.statements = 0
        """Statements sent through the pool since the start: tests count what a step costs."""
        self.in_use = 0
        """Connections that run a statement."""
        self.waiting = 0
        """Statements that wait for a connection, a new one or one that is given back."""
        self.waited_seconds = 0.0
        """How long statements have waited so, since the start."""

    async def open(self) -> None:
        """Make the pool. It connects when it is first used, so this needs no database."""
        self._pool = await asyncpg.create_pool(
            self._dsn,
            min_size=0,
            max_size=self.pool_size,
            init=_prepare,
            reset=_keep_session,
            **self._connect,
        )

    async def close(self, seconds: float = 5.0) -> None:
        """Wait for statements in flight, then close; after ``duration`` close all the same."""
        if self._pool is None:
            return
        with move_on_after(seconds, shield=True) as scope:
            await self._pool.close()
        if scope.cancelled_caught:
            self._pool.terminate()
        self._pool = None

    async def distrust(self) -> None:
        """Have pooled connections made anew: after an outage an idle one may be dead and not know."""
        if self._pool is not None:
            with translated():
                await self._pool.expire_connections()

    async def fetch(self, query: str, *args: object) -> Sequence[asyncpg.Record]:
        """All rows of one statement, in a transaction of its own.

        The wait for a free connection has the same limit as the statement: when the database answers
        nobody, those who queue for the pool must not wait for one timeout after the other.

        Raises:
            DatabaseAway: it cannot be reached; whether the statement took effect is then unknown.
        """
        if self._pool is None:
            raise DatabaseUnavailable
        self.statements += 1
        with translated():
            connection = await self._acquire(self._pool)
            self.in_use += 1
            try:
                return await connection.fetch(query, *args)
            finally:
                self.in_use -= 1
                # A connection that cannot be given back is dropped; the answer stays what it is.
                with suppress(TimeoutError):
                    await self._pool.release(connection, timeout=_RELEASE_SECONDS)

    async def _acquire(self, pool: "asyncpg.Pool[asyncpg.Record]") -> "Pooled":
        self.waiting += 1
        began = monotonic()
        try:
            with fail_after(self._statement_timeout):
                return await pool.acquire()
        finally:
            self.waiting -= 1
            self.waited_seconds += monotonic() - began

    async def fetchrow(self, query: str, *args: object) -> asyncpg.Record | None:
        """The only row of one statement, or None."""
        rows = await self.fetch(query, *args)
        return rows[0] if rows else None

    @asynccontextmanager
    async def direct(self) -> AsyncIterator[Connection]:
        """A connection of one's own, past any pooler: for LISTEN and for session locks."""
        with translated(key=self._direct_key):
            connection: Connection = await asyncpg.connect(self._direct_dsn, **self._connect)
        try:
            with translated():
                await _prepare(connection)
            yield connection
        finally:
            connection.terminate()
