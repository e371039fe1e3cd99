"""Errors of the database in three classes, decided here and nowhere else.

* *Unavailable*: no connection, or the server cannot be used just now. ``DatabaseUnavailable``. Actors wait,
  requests get 503. ``DatabaseAccessDenied`` is the part of it that an operator must correct: no such
  database, no TLS. It ends a start. Later it is an outage. ``DatabasePermissionDenied``, a wrong password
  or a missing privilege, is an outage of a start too, for a limited time, because passwords rotate.
* *Try again*: the server is there, and gave up one statement. ``DatabaseBusy``. The statement is repeated a
  bounded number of times. Then the request gets 503, and the chat fails with a reason.
* *Wrong*: everything else is a bug of chatd and passes through.
"""

import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from random import random
from typing import Final, TypeVar

import anyio
import asyncpg

from chatd.domain.errors import (
    ChatdError,
    ChatUnreadable,
    DatabaseAccessDenied,
    DatabaseBusy,
    DatabasePermissionDenied,
    DatabaseUnavailable,
)
from chatd.store.sql import QueryError
from chatd.supervision.backoff import Backoff
from chatd.supervision.child import FatalError

T = TypeVar("T")

_UNAVAILABLE_ERRORS: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # shutdown, crash, starting up
    asyncpg.InsufficientResourcesError,  # too many connections, out of memory or disk
    asyncpg.ReadOnlySQLTransactionError,  # a standby answered: a failover is under way
    asyncpg.ConnectionDoesNotExistError,
    asyncpg.TargetServerAttributeNotMatched,  # no host accepts writes yet
)
_IDLE_SESSION_STATES: Final = frozenset({"25P03", "57P05"})
"""Codes of sessions that the server ended because they were idle."""
_TIME_LIMIT_STATES: Final = frozenset({"57014", "25P04"})
"""Codes of a statement and of a transaction that took too long."""
_UNAVAILABLE_MESSAGES: Final = (
    "connection is closed",
    "connection was closed",
    "connection has been released",
    "pool is closing",
    "pool is closed",
    "cannot switch to state",  # the server ended the session while a statement was sent
)
_PERMISSION_DENIED_ERRORS: Final = (
    asyncpg.InvalidAuthorizationSpecificationError,  # a wrong password too
    asyncpg.InsufficientPrivilegeError,
)
_ACCESS_DENIED_ERRORS: Final = (
    *_PERMISSION_DENIED_ERRORS,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InvalidSchemaNameError,
    asyncpg.UndefinedTableError,  # tables that chatd had: dropped, or being restored
    asyncpg.ClientConfigurationError,  # the URL itself
    ssl.SSLCertVerificationError,
)
_DENIED_MESSAGES: Final = (
    "unsupported startup parameter",  # of a pooler, whose transient errors have the same code
    "rejected SSL upgrade",
)
_PREPARED_STATEMENT_STATES: Final = frozenset({"26000", "42P05"})
"""Codes of a pooler that mixes up prepared statements."""
_BUSY_ERRORS: Final = (
    asyncpg.TransactionRollbackError,  # deadlock, serialization failure
    asyncpg.LockNotAvailableError,
)
_MAX_ATTEMPTS: Final = 4
"""Attempts of a statement that the server gives up because of a conflict, all within half a second."""
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.05, 0.2


def is_unavailable(error: BaseException) -> bool:
    """Return True if ``error`` means that the database cannot be reached just now."""
    if is_busy(error) or is_access_denied(error):
        return False
    if isinstance(error, _UNAVAILABLE_ERRORS) or _sqlstate(error) in _IDLE_SESSION_STATES:
        return True
    return isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError) and any(
        text in str(error) for text in _UNAVAILABLE_MESSAGES
    )


def is_access_denied(error: BaseException) -> bool:
    """Return True if ``error`` means that the database denies access until an operator changes that."""
    if isinstance(error, _ACCESS_DENIED_ERRORS) or _sqlstate(error) in _PREPARED_STATEMENT_STATES:
        return True
    return isinstance(error, ConnectionError | asyncpg.ProtocolViolationError) and any(
        text in str(error) for text in _DENIED_MESSAGES
    )


def is_busy(error: BaseException) -> bool:
    """Return True if the server gave up one statement, and may take it another time."""
    return isinstance(error, _BUSY_ERRORS) or _ran_out_of_time(error)


def is_caused_by_data(error: Exception) -> bool:
    """Return True if ``error`` may be caused by what one row holds.

    A ``RuntimeError`` is about the program, except for a row that is nested too deeply.
    """
    if isinstance(error, ChatdError):
        return isinstance(error, ChatUnreadable)
    if isinstance(error, RuntimeError):
        return isinstance(error, RecursionError)
    if isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError):
        return isinstance(error, asyncpg.DataError)  # an argument that cannot be sent
    return not isinstance(error, asyncpg.SyntaxOrAccessError | QueryError | FatalError | OSError)


def may_be_caused_by_size(error: Exception) -> bool:
    """Return True if a statement took too long or too much memory: for one row, or for all there are."""
    if isinstance(error, DatabaseBusy):
        return bool(error.context["ran_out_of_time"])
    return isinstance(error, DatabaseUnavailable) and isinstance(
        error.__cause__, asyncpg.OutOfMemoryError
    )


def refuses_startup_parameter(error: BaseException) -> bool:
    """Return True if a pooler refuses a setting that a connection brings along."""
    return isinstance(error, asyncpg.ProtocolViolationError) and _DENIED_MESSAGES[0] in str(error)


@contextmanager
def translate_errors(*, setting: str = "database.url") -> Iterator[None]:
    """Translate errors of asyncpg into those of the classes above.

    ``setting`` is the setting that ``DatabaseAccessDenied`` names, as the one to check.
    """
    try:
        yield
    except (
        OSError,
        asyncpg.PostgresError,
        asyncpg.InterfaceError,
        asyncpg.InternalClientError,
    ) as error:
        text = f"({type(error).__name__}: {error})"
        if is_busy(error):
            raise DatabaseBusy(
                f"{DatabaseBusy.__doc__} {text}", ran_out_of_time=_ran_out_of_time(error)
            ) from error
        if is_access_denied(error):
            may_pass = isinstance(error, _PERMISSION_DENIED_ERRORS)
            denied = DatabasePermissionDenied if may_pass else DatabaseAccessDenied
            raise denied(f"{setting}: {_denial(error)}") from error
        if is_unavailable(error):
            raise DatabaseUnavailable(f"{DatabaseUnavailable.__doc__} {text}") from error
        raise


async def repeat_while_busy(statement: Callable[[], Awaitable[T]]) -> T:
    """Run a statement, again after a conflict. One that ran out of time is not repeated here."""
    backoff = None
    for _ in range(1, _MAX_ATTEMPTS):
        try:
            return await statement()
        except DatabaseBusy as error:
            if error.context["ran_out_of_time"]:
                raise
        backoff = backoff or Backoff(
            first_seconds=_FIRST_PAUSE_SECONDS, max_seconds=_LONGEST_PAUSE_SECONDS, random=random
        )
        await anyio.sleep(backoff.next_delay())
    return await statement()


def _ran_out_of_time(error: BaseException) -> bool:
    return _sqlstate(error) in _TIME_LIMIT_STATES


def _sqlstate(error: BaseException) -> str:
    return str(error.sqlstate) if isinstance(error, asyncpg.PostgresError) else ""


def _denial(error: BaseException) -> str:
    """Return the reason of a denial, with what to do about it."""
    if isinstance(error, asyncpg.ClientConfigurationError):
        return str(error)
    if _sqlstate(error) in _PREPARED_STATEMENT_STATES:
        return (
            f"the pooler does not support prepared statements ({error}): use PgBouncer 1.21 or newer with "
            "max_prepared_statements, or pool by session"
        )
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"the certificate of the server cannot be verified ({error.verify_message}): name its "
            "authority by sslrootcert, and the host as in the certificate"
        )
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        return (
            f"a privilege is missing ({error}): make the role the owner of the tables, or GRANT it USAGE "
            "on the schema, and SELECT, INSERT, UPDATE and DELETE on all tables in it"
        )
    if isinstance(error, ConnectionError):
        return "the server has no TLS: set sslmode=disable, or switch TLS on at the server"
    return f"the database denies access: {error}"
