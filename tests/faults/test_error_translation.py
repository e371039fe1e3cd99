"""Errors that mean an unavailable database, and errors that are bugs and must not be waited out."""

import asyncpg
import pytest

from chatd.domain.errors import (
    DatabaseAccessDenied,
    DatabaseBusy,
    DatabasePermissionDenied,
    DatabaseUnavailable,
)
from chatd.store.database_errors import (
    is_caused_by_data,
    is_unavailable,
    repeat_while_busy,
    translate_errors,
)
from chatd.store.sql import QueryError

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
DENIED_BY_SERVER = [
    asyncpg.InvalidPasswordError('password authentication failed for user "chatd"'),
    asyncpg.InvalidAuthorizationSpecificationError('role "chatd" is not permitted to log in'),
    asyncpg.InvalidAuthorizationSpecificationError("no pg_hba.conf entry for host"),
    asyncpg.InsufficientPrivilegeError("permission denied for table chats"),
]
"""Denials that a start waits for, for a while."""
DENIED = [
    *DENIED_BY_SERVER,
    asyncpg.InvalidCatalogNameError('database "chatd" does not exist'),
    asyncpg.InvalidSchemaNameError("no schema has been selected to create in"),
    asyncpg.UndefinedTableError('relation "chats" does not exist'),
    asyncpg.ProtocolViolationError("unsupported startup parameter: jit"),
    asyncpg.InvalidSQLStatementNameError('prepared statement "__asyncpg_stmt_1__" does not exist'),
    asyncpg.DuplicatePreparedStatementError("prepared statement already exists"),
    ConnectionError('PostgreSQL server at "h:1" rejected SSL upgrade'),
]
CONFLICTS = [
    asyncpg.DeadlockDetectedError("deadlock detected"),
    asyncpg.SerializationError("could not serialize access"),
    asyncpg.LockNotAvailableError("canceling statement due to lock timeout"),
]
OUT_OF_TIME = [
    asyncpg.QueryCanceledError("canceling statement due to statement timeout"),
]
BUGS = [
    asyncpg.UndefinedColumnError('column "x" does not exist'),
    asyncpg.CheckViolationError("violates check constraint"),
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


@pytest.mark.parametrize("error", DENIED, ids=str)
def test_denials_are_outages_that_name_the_setting(error: Exception) -> None:
    assert not is_unavailable(error)
    with (
        pytest.raises(DatabaseAccessDenied, match=r"^database.direct_url: ") as raised,
        translate_errors(setting="database.direct_url"),
    ):
        raise error
    assert isinstance(raised.value, DatabaseUnavailable), "or it would end an actor"
    assert isinstance(raised.value, DatabasePermissionDenied) is (error in DENIED_BY_SERVER)


@pytest.mark.parametrize("error", CONFLICTS, ids=str)
async def test_conflicts_are_repeated_a_bounded_number_of_times(error: Exception) -> None:
    assert not is_unavailable(error)
    attempts = 0

    async def statement(*, succeeds_at: int) -> str:
        nonlocal attempts
        attempts += 1
        with translate_errors():
            if attempts < succeeds_at:
                raise error
        return "done"

    assert await repeat_while_busy(lambda: statement(succeeds_at=4)) == "done"
    attempts = 0
    with pytest.raises(DatabaseBusy) as raised:
        await repeat_while_busy(lambda: statement(succeeds_at=100))
    assert attempts == 4
    assert isinstance(raised.value, DatabaseUnavailable), "a request gets 503"


@pytest.mark.parametrize("error", OUT_OF_TIME, ids=str)
async def test_slow_statement_is_not_repeated_at_once(error: Exception) -> None:
    attempts = 0

    async def statement() -> None:
        nonlocal attempts
        attempts += 1
        with translate_errors():
            raise error

    with pytest.raises(DatabaseBusy):
        await repeat_while_busy(statement)
    assert attempts == 1


@pytest.mark.parametrize(
    "error", [QueryError("limits are missing"), asyncpg.UndefinedColumnError("x")], ids=str
)
def test_errors_of_chatd_itself_are_no_fault_of_a_row(error: Exception) -> None:
    """An actor that cut a chat for them would hide a bug, and cut all chats in turn."""
    assert not is_caused_by_data(error)
    assert is_caused_by_data(asyncpg.CheckViolationError("x"))
