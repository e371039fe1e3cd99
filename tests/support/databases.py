"""Databases for tests."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg

from chatd.store.migrations import migrate


@asynccontextmanager
async def database_on_server(server: str, *, schema: bool = True) -> AsyncIterator[str]:
    """Create a database on a server, with the schema or empty. Yield its DSN.

    It is dropped at the end, unless the test has stopped the server.
    """
    name = f"chatd_test_{uuid4().hex[:12]}"
    await _execute(server, f"CREATE DATABASE {name}")
    dsn = urlsplit(server)._replace(path=f"/{name}").geturl()
    if schema:
        await migrate.up(dsn)
    try:
        yield dsn
    finally:
        with suppress(OSError, asyncpg.CannotConnectNowError):
            await _execute(server, f"DROP DATABASE {name} WITH (FORCE)")


async def _execute(server: str, statement: str) -> None:
    admin = await asyncpg.connect(server)
    await admin.execute(statement)
    await admin.close()
