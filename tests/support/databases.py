"""Databases for tests."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg

from chatd.store.migrations import migrate


@asynccontextmanager
async def database_on_server(server: str, *, schema: bool = True) -> AsyncIterator[str]:
    """Create a database on a server of the test's own, with the schema or empty. Yield its DSN."""
    name = f"chatd_test_{uuid4().hex[:12]}"
    admin = await asyncpg.connect(server)
    await admin.execute(f"CREATE DATABASE {name}")
    await admin.close()
    dsn = urlsplit(server)._replace(path=f"/{name}").geturl()
    if schema:
        await migrate.up(dsn)
    yield dsn
