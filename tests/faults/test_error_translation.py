"""Errors that mean an unavailable database, and errors that are bugs and must not be waited out."""

import asyncpg
import pytest

from chatd.domain.errors import DatabaseUnavailable
from chatd.store.database import is_unavailable, translate_errors

UNAVAILABLE = [
    ConnectionRefusedError(),
    TimeoutError(),
    asyncpg.AdminShutdownError("terminating connection due to administrator command"),
    asyncpg.CannotConnectNowError("the database system is starting up"),
    asyncpg.TooManyConnectionsError("sorry, too many clients already"),
    asyncpg.ReadOnlySQLTransactionError("cannot execute UPDATE in a read-only transaction"),
    asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation"),
    asyncpg.InterfaceError("connection is closed"),
    # Raised in one of a hundred sessions that were terminated just as a statement was sent.
    asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress"),
]
BUGS = [
    asyncpg.UndefinedColumnError('column "x" does not exist'),
    asyncpg.CheckViolationError("violates check constraint"),
    asyncpg.DeadlockDetectedError("deadlock detected"),
    asyncpg.InterfaceError("cannot perform operation: another operation is in progress"),
    asyncpg.InternalClientError("got result for unknown protocol state 3"),
    ValueError("x"),
]


@pytest.mark.parametrize("error", UNAVAILABLE, ids=str)
def test_connection_errors_become_database_unavailable(error: Exception) -> None:
    assert is_unavailable(error)
    with pytest.raises(DatabaseUnavailable) as raised, translate_errors():
        raise error
    assert raised.value.__cause__ is error


@pytest.mark.parametrize("error", BUGS, ids=str)
def test_statement_errors_pass_through(error: Exception) -> None:
    assert not is_unavailable(error)
    with pytest.raises(type(error)), translate_errors():
        raise error
