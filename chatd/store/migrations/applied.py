"""Applied migrations, as the database records them.

There is one row for each, with the checksum of the file and the version of chatd that ran it. Every start
calls ``check``, whose error says if the database or chatd is behind.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.resources.abc import Traversable
from typing import Literal

import asyncpg

from chatd import __version__
from chatd.domain.errors import SchemaMismatch
from chatd.store import sql
from chatd.store.connector import Connection
from chatd.store.migrations.files import Migration, MigrationError, load_migrations

_Q = sql.load("migrate")

CREATE_MIGRATIONS_TABLE = """\
CREATE TABLE IF NOT EXISTS chatd_schema_migrations (
    version            integer PRIMARY KEY,
    name               text NOT NULL,
    checksum           text NOT NULL,
    applied_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    applied_by_version text NOT NULL
);"""
_INSERT = """\
INSERT INTO chatd_schema_migrations (version, name, checksum, applied_by_version)
VALUES ({version}, '{name}', '{checksum}', '{by}');"""
_DELETE = "DELETE FROM chatd_schema_migrations WHERE version = {version};"


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationState:
    """State of one migration in a database. ``unknown``: this chatd has no file of it."""

    version: int
    name: str
    state: Literal["applied", "pending", "changed", "unknown"]
    applied_at: datetime | None = None
    applied_by_version: str | None = None


async def check(connection: Connection, *, folder: Traversable | None = None) -> None:
    """Raise ``SchemaMismatch`` unless the database has exactly this chatd's migrations."""
    needed = load_migrations(folder)
    rows = await applied_rows(connection)
    reject_newer_schema(rows, needed)
    missing = len(needed) - len(rows)
    if missing:
        has = rows[-1]["version"] if rows else 0
        raise SchemaMismatch(
            f"The database is at schema {has:04}, and chatd {__version__} needs {len(needed):04} "
            f"({missing} to apply): run 'chatd migrate up', or set database.migrate_on_start."
        )


def reject_newer_schema(rows: Sequence[asyncpg.Record], migrations: Sequence[Migration]) -> None:
    """Raise ``SchemaMismatch`` if the database has migrations that this chatd does not know."""
    if rows and rows[-1]["version"] > len(migrations):
        newest = rows[-1]
        raise SchemaMismatch(
            f"The database is at schema {newest['version']:04}, and chatd {__version__} knows "
            f"only {len(migrations):04}: run chatd {newest['applied_by_version']} or newer, or use "
            f"that version's 'chatd migrate down --to {len(migrations)}'."
        )


async def verified_versions(connection: Connection, migrations: Sequence[Migration]) -> list[int]:
    """Return the applied versions. Raise ``MigrationError`` if a file was changed since."""
    rows = await applied_rows(connection)
    reject_newer_schema(rows, migrations)
    for row in rows:
        state = migration_state(row["version"], migrations[row["version"] - 1], row)
        if state.state == "changed":
            raise MigrationError(
                f"{migrations[row['version'] - 1].up.file} was changed after it was applied "
                f"(by chatd {row['applied_by_version']}, {row['applied_at']:%Y-%m-%d}): "
                "restore it, and put the change into a new migration."
            )
    return [row["version"] for row in rows]


async def applied_rows(connection: Connection) -> list[asyncpg.Record]:
    """Return the rows of the applied migrations, in order of version."""
    if await connection.fetchval("SELECT to_regclass('chatd_schema_migrations')") is None:
        return []
    return await connection.fetch(_Q["applied"].text)


def migration_state(
    version: int, file: Migration | None, row: asyncpg.Record | None
) -> MigrationState:
    """Return the state of a migration, from its file and its row, of which one may be missing."""
    if row is None:
        return MigrationState(version=version, name=file.name if file else "", state="pending")
    unchanged = file is not None and (file.name, file.checksum) == (row["name"], row["checksum"])
    return MigrationState(
        version=version,
        name=row["name"],
        state="unknown" if file is None else "applied" if unchanged else "changed",
        applied_at=row["applied_at"],
        applied_by_version=row["applied_by_version"],
    )


def insert_sql(migration: Migration) -> str:
    """Return the statement that records a migration as applied."""
    return _INSERT.format(
        version=migration.version,
        name=migration.name,
        checksum=migration.checksum,
        by=__version__,
    )


def delete_sql(migration: Migration) -> str:
    """Return the statement that deletes the record of a migration."""
    return _DELETE.format(version=migration.version)
