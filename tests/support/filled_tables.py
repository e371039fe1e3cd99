"""Tables with tens of thousands of rows, for tests of query plans."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg

from chatd.store.connector import Connection
from chatd.store.database import Database
from support.factories import insert_models


async def fill_tables(dsn: str, *statements: str) -> None:
    """Run statements that insert many rows, without checks of foreign keys: a third of the cost.

    A ``VACUUM`` is repeated until it has marked every page of chats as visible to all.
    """
    database = Database(dsn, statement_timeout_seconds=120)
    await database.open()
    try:
        await insert_models(database)
        async with database.dedicated_connection() as connection:
            await connection.execute("SET session_replication_role = replica")
            for statement in statements:
                await connection.execute(statement, timeout=120)
            await _vacuum_chats(connection)
    finally:
        await database.close()


async def _vacuum_chats(connection: Connection) -> None:
    all_visible = False
    # Another reader of the table at this moment keeps VACUUM from marking pages as visible.
    while not all_visible:
        await connection.execute("VACUUM (ANALYZE) chats", timeout=120)
        all_visible = await connection.fetchval(
            "SELECT relallvisible = relpages FROM pg_class WHERE oid = 'chats'::regclass"
        )


@asynccontextmanager
async def copy_of(dsn: str) -> AsyncIterator[str]:
    """Create a copy of a database, to which nobody may be connected at this moment. Yield its DSN."""
    parts = urlsplit(dsn)
    name = f"chatd_test_{uuid4().hex[:12]}"
    admin = await asyncpg.connect(dsn, database="postgres")
    try:
        source = parts.path.removeprefix("/")
        await admin.execute(f"CREATE DATABASE {name} TEMPLATE {source} STRATEGY FILE_COPY")
        try:
            yield urlunsplit(parts._replace(path=f"/{name}"))
        finally:
            await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await admin.close()
