"""The books: which migrations a database has, as it says itself.

One row for each applied migration, with the checksum of the file that was run and the chatd that
ran it. ``check`` is what every start asks; it fails in words that say which side is behind.
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
from chatd.store.database import Connection
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
    """One migration and whether the database has it; ``unknown_calls`` ones this chatd has no file of."""

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
    if rows and rows[-1]["version"] > len(migrations):
        newest = rows[-1]
        raise SchemaMismatch(
            f"The database is at schema {newest['version']:04}, and chatd {__version__} knows "
            f"only {len(migrations):04}: run chatd {newest['applied_by_version']} or newer, or use "
            f"that version's 'chatd migrate down --to {len(migrations)}'."
        )


async def verified_versions(connection: Connection, migrations: Sequence[Migration]) -> list[int]:
    """The applied versions, once it is sure that each is still the file it was."""
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
    if await connection.fetchval("SELECT to_regclass('chatd_schema_migrations')") is None:
        return []
    return await connection.fetch(_Q["applied"].text)


def migration_state(
    version: int, file: Migration | None, row: asyncpg.Record | None
) -> MigrationState:
    if row is None:
        return MigrationState(version=version, name=file.name if file else "", state="pending")
    same = file is not None and (file.name, file.checksum) == (row["name"], row["checksum"])
    return MigrationState(
        version=version,
        name=row["name"],
        state="unknown" if file is None else "applied" if same else "changed",
        applied_at=row["applied_at"],
        applied_by_version=row["applied_by_version"],
    )


def insert_sql(migration: Migration) -> str:
    return _INSERT.format(
        version=migration.version,
        name=migration.name,
        checksum=migration.checksum,
        by=__version__,
    )


def delete_sql(migration: Migration) -> str:
    return _DELETE.format(version=migration.version)
