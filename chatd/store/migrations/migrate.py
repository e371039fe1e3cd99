"""Migrations up and down, safe to run in several processes at the same time.

All work is done under one advisory lock of the session, and the applied versions are read inside it. The
lock is tried again and again rather than waited for inside a statement: a waiting statement holds a
snapshot, and ``CREATE INDEX CONCURRENTLY`` in the process that holds the lock would wait for that snapshot
for ever. Behind a connection pooler a session lock means nothing, so the command line uses
``database.direct_url`` here.

Failures: a migration that fails is rolled back together with its row in ``chatd_schema_migrations``, and
earlier ones stay. One without a transaction keeps the statements before the failure, gets no row, and its
error says so. A process that dies frees the lock. A table that is locked for longer than ten seconds fails
the migration, so that other clients do not queue behind it.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from importlib.resources.abc import Traversable
from typing import TypeAlias

import anyio
import asyncpg
import structlog

from chatd import __version__
from chatd.domain.errors import DatabaseUnavailable
from chatd.domain.sanitize import sanitize_error_text
from chatd.store import sql
from chatd.store.connector import Connection, Connector
from chatd.store.database_errors import is_unavailable, translate_errors
from chatd.store.migrations.applied import (
    CREATE_MIGRATIONS_TABLE,
    MigrationState,
    applied_rows,
    check,
    delete_sql,
    insert_sql,
    migration_state,
    verified_versions,
)
from chatd.store.migrations.files import Migration, MigrationError, Script, load_migrations
from chatd.store.server_check import check_may_create, check_server

__all__ = [
    "DatabaseTarget",
    "MigrationError",
    "MigrationState",
    "check",
    "down",
    "sql_script",
    "status",
    "up",
]

_log = structlog.get_logger()
_Q = sql.load("migrate")

DatabaseTarget: TypeAlias = "str | Connection"
"""A DSN, for which a connection is opened and closed, or a connection (never a pooled one)."""

ADVISORY_LOCK_KEY = int.from_bytes(b"chatmigr", "big")
"""Key of the advisory lock that a migrating session holds."""
_LOCK_RETRY_SECONDS = 0.2
_CONNECT_TIMEOUT_SECONDS = 10.0
_CLOSE_TIMEOUT_SECONDS = 1.0
_CHECK_TIMEOUT_SECONDS = 10.0
"""Time limit of everything but the migrations themselves, which may take hours."""
_URL_SETTINGS = "database.direct_url, or database.url"
_SESSION_SETTINGS = """\
SET application_name = 'chatd migrate'; SET statement_timeout = 0; SET lock_timeout = '10s';
SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3"""
"""The server ends the session of a client that died silently, and frees its lock before others give up."""


async def up(
    target: DatabaseTarget,
    *,
    to: int | None = None,
    folder: Traversable | None = None,
    wait_seconds: float = 60,
) -> list[Migration]:
    """Apply the pending migrations up to version ``to`` or the newest. Return those applied.

    ``folder`` replaces the folder of this chatd. ``wait_seconds`` bounds the wait for another process that
    migrates.

    Raises:
        SchemaMismatch: the database is ahead.
        MigrationError: a file was changed, a migration failed, or the wait was too long.
        DatabaseUnavailable
    """
    migrations = load_migrations(folder)
    async with _open_connection(target) as connection, _migration_lock(connection, wait_seconds):
        with _time_limit():
            await check_may_create(connection)
            await connection.execute(CREATE_MIGRATIONS_TABLE)
            applied = await verified_versions(connection, migrations)
        chosen = _to_apply(applied, migrations, to)
        for migration in chosen:
            seconds = await _run(connection, migration, migration.up, insert_sql(migration))
            _log.info(
                "migrate.applied", version=migration.version, name=migration.name, seconds=seconds
            )
    return chosen


async def down(
    target: DatabaseTarget, *, to: int, folder: Traversable | None = None, wait_seconds: float = 60
) -> list[Migration]:
    """Revert every migration after version ``to``, newest first. 0 reverts all. See ``up``."""
    migrations = load_migrations(folder)
    async with _open_connection(target) as connection, _migration_lock(connection, wait_seconds):
        with _time_limit():
            applied = await verified_versions(connection, migrations)
        chosen = _to_revert(applied, migrations, to)
        for migration in chosen:
            seconds = await _run(connection, migration, migration.down, delete_sql(migration))
            _log.info(
                "migrate.reverted", version=migration.version, name=migration.name, seconds=seconds
            )
    return chosen


async def status(
    target: DatabaseTarget, *, folder: Traversable | None = None
) -> list[MigrationState]:
    """Return the state of every migration that this chatd or the database knows, in order."""
    files = {migration.version: migration for migration in load_migrations(folder)}
    async with _open_connection(target) as connection:
        rows = {row["version"]: row for row in await applied_rows(connection)}
    return [
        migration_state(version, files.get(version), rows.get(version))
        for version in sorted({*files, *rows})
    ]


async def sql_script(
    target: "DatabaseTarget | None",
    *,
    start: int | None = None,
    to: int | None = None,
    folder: Traversable | None = None,
) -> str:
    """Return the SQL that ``up`` (or ``down``, if ``to`` is lower) would run, for psql.

    ``start`` is the version to begin at. Without it, the version is read from ``target``, which else may be
    None. The script records what it applies, so ``up`` continues after it.
    """
    migrations = load_migrations(folder)
    if start is None:
        if target is None:
            raise MigrationError("Say which version to start at, or which database to ask.")
        async with _open_connection(target) as connection:
            start = max(await verified_versions(connection, migrations), default=0)
    goal = len(migrations) if to is None else to
    _check_version_exists(goal, migrations)
    applied = range(1, start + 1)
    if goal < start:
        reverted = _to_revert(applied, migrations, goal)
        parts = [_transaction_block(each.down, delete_sql(each)) for each in reverted]
    else:
        parts = [
            _transaction_block(each.up, insert_sql(each))
            for each in _to_apply(applied, migrations, goal)
        ]
    head = f"-- chatd {__version__}: schema {start:04} to {goal:04}. Run with psql."
    return "\n\n".join([head, "\\set ON_ERROR_STOP on", CREATE_MIGRATIONS_TABLE, *parts]) + "\n"


def _time_limit() -> AbstractContextManager[object]:
    """Return a context whose statements end as an outage when the server does not answer them."""
    return anyio.fail_after(_CHECK_TIMEOUT_SECONDS)


def _check_version_exists(version: int, migrations: Sequence[Migration]) -> None:
    if not 0 <= version <= len(migrations):
        raise MigrationError(
            f"There is no migration {version:04}; the newest is {len(migrations):04}."
        )


def _to_apply(
    applied: Iterable[int], migrations: Sequence[Migration], to: int | None
) -> list[Migration]:
    versions = set(applied)
    goal = len(migrations) if to is None else to
    _check_version_exists(goal, migrations)
    if versions and goal < max(versions):
        raise MigrationError(
            f"The database is at schema {max(versions):04} already: to go back, use "
            f"'chatd migrate down --to {goal}'."
        )
    return [each for each in migrations[:goal] if each.version not in versions]


def _to_revert(applied: Iterable[int], migrations: Sequence[Migration], to: int) -> list[Migration]:
    _check_version_exists(to, migrations)
    return [migrations[version - 1] for version in sorted(applied, reverse=True) if version > to]


def _transaction_block(source: Script, record: str) -> str:
    body = "\n\n".join([*source.statements(), record])
    return f"BEGIN;\n{body}\nCOMMIT;" if source.transactional else body


async def _run(connection: Connection, migration: Migration, source: Script, record: str) -> float:
    """Run one script and record it. Return the seconds that it took."""
    started_at = time.monotonic()
    completed_statements = 0
    try:
        if source.transactional:
            async with connection.transaction():
                await connection.execute(source.sql)
                await connection.execute(record)
        else:
            for statement in [*source.statements(), record]:
                await connection.execute(statement)
                completed_statements += 1
    except asyncpg.PostgresError as error:
        if is_unavailable(error):
            raise
        raise MigrationError(
            _failure_message(source, error, completed_statements), migration=migration.label
        ) from error
    return round(time.monotonic() - started_at, 3)


def _failure_message(
    source: Script, error: asyncpg.PostgresError, completed_statements: int
) -> str:
    """Return the message of a failed script: its position, the error, and what was kept."""
    position = getattr(error, "position", None)
    line = f" at line {source.sql.count(chr(10), 0, int(position)) + 1}" if position else ""
    if source.transactional:
        outcome = "nothing of it was kept"
    else:
        line = f" at statement {completed_statements + 1}"
        outcome = (
            f"the {completed_statements} statements before it are kept, since the file has no"
            " transaction"
        )
    hints = "".join(f" {text}." for text in (error.detail, error.hint) if text)
    reason = sanitize_error_text(f"{error.args[0]} ({error.sqlstate}).{hints}")
    return f"{source.file} failed{line}: {reason} {outcome[0].upper()}{outcome[1:]}."


@asynccontextmanager
async def _open_connection(target: DatabaseTarget) -> AsyncIterator[Connection]:
    if not isinstance(target, str):
        yield target
        return
    connector = Connector(
        target, connect_timeout_seconds=_CONNECT_TIMEOUT_SECONDS, statement_timeout_seconds=None
    )
    try:
        with translate_errors(setting=_URL_SETTINGS):
            connection = await connector.connect()
    except (ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        reason = sanitize_error_text(str(error)) or type(error).__name__
        raise DatabaseUnavailable(f"The database cannot be reached: {reason}") from error
    try:
        with translate_errors(setting=_URL_SETTINGS):
            with _time_limit():
                await connection.execute(_SESSION_SETTINGS)
                await check_server(connection)
            yield connection
    finally:
        await _close(connection)


async def _close(connection: Connection) -> None:
    """Close a connection, or drop it when the server does not respond."""
    with anyio.CancelScope(shield=True), suppress(Exception):
        await connection.close(timeout=_CLOSE_TIMEOUT_SECONDS)


@asynccontextmanager
async def _migration_lock(connection: Connection, wait_seconds: float) -> AsyncIterator[None]:
    deadline = time.monotonic() + wait_seconds
    waiting = False
    while not await _try_lock(connection):
        if not waiting:
            holder = await _lock_holder(connection)
            _log.info("migrate.waiting", holder=holder, wait_seconds=wait_seconds)
            waiting = True
        if time.monotonic() >= deadline:
            holder = await _lock_holder(connection)
            raise MigrationError(
                f"Another process has been migrating for {wait_seconds:g} s: backend {holder}."
            )
        await asyncio.sleep(_LOCK_RETRY_SECONDS)
    try:
        yield
    finally:
        if not connection.is_closed():
            # The server unlocks when the session ends, so a failure changes nothing.
            with anyio.move_on_after(_CLOSE_TIMEOUT_SECONDS, shield=True), suppress(Exception):
                await connection.fetchval("SELECT pg_advisory_unlock($1)", ADVISORY_LOCK_KEY)


async def _try_lock(connection: Connection) -> bool:
    with _time_limit():
        return bool(await connection.fetchval("SELECT pg_try_advisory_lock($1)", ADVISORY_LOCK_KEY))


async def _lock_holder(connection: Connection) -> str | None:
    text, args = _Q["lock_holder"].bind(lock=ADVISORY_LOCK_KEY)
    with _time_limit():
        holder: str | None = await connection.fetchval(text, *args)
    return holder
