"""Databases of the benchmarks, on a given server or an embedded one."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg

from chatd.domain.errors import ChatdError, DatabaseUnavailable
from chatd.embedded import Postgres
from chatd.store.database_errors import translate_errors
from chatd.store.migrations import migrate

_SERVER_INFO = "SELECT current_setting('server_version'), current_setting('fsync')"
_CREATE = "SELECT format('CREATE DATABASE %I', $1::text)"
_BACKENDS = "SELECT pid FROM pg_stat_activity WHERE datname = $1"
_COPY = "SELECT format('CREATE DATABASE %I TEMPLATE %I', $1::text, $2::text)"
_DROP = "SELECT format('DROP DATABASE IF EXISTS %I WITH (FORCE)', $1::text)"


class BenchDatabases:
    """Creator of databases with the schema, each a copy of one that was migrated once."""

    def __init__(self, admin: "asyncpg.Connection[asyncpg.Record]", dsn: str) -> None:
        self._admin = admin
        self._dsn = dsn
        self._prefix = f"chatd_bench_{uuid4().hex[:8]}"
        self._created: list[str] = []
        self.server = ""
        """Return the version of PostgreSQL, for the head of the report."""

    async def prepare(self, *, embedded: bool) -> None:
        version, fsync = await self._admin.fetchrow(_SERVER_INFO) or ("?", "?")
        where = "embedded" if embedded else "given"
        self.server = f"PostgreSQL {version.split()[0]}, {where}, fsync {fsync}"
        await self._execute_formatted(_CREATE, self._new_name("template"))
        await migrate.up(self._dsn_for(f"{self._prefix}_template"))

    async def create(self, purpose: str, *, empty: bool = False) -> str:
        """Create a database that nothing else uses, with the schema unless ``empty``. Return its DSN."""
        name = self._new_name(f"{len(self._created)}_{purpose}")
        if empty:
            await self._execute_formatted(_CREATE, name)
        else:
            await self._execute_formatted(_COPY, name, f"{self._prefix}_template")
        return self._dsn_for(name)

    async def backend_pids(self, dsn: str) -> list[int]:
        """Return the processes that serve the connections to a database. They must be on this machine."""
        rows = await self._admin.fetch(_BACKENDS, urlsplit(dsn).path.removeprefix("/"))
        return [row["pid"] for row in rows]

    async def drop_all(self) -> None:
        """Drop every database that was created here."""
        while self._created:
            await self._execute_formatted(_DROP, self._created.pop())

    def _new_name(self, purpose: str) -> str:
        self._created.append(name := f"{self._prefix}_{purpose}")
        return name

    def _dsn_for(self, name: str) -> str:
        return urlsplit(self._dsn)._replace(path=f"/{name}").geturl()

    async def _execute_formatted(self, template: str, *names: str) -> None:
        """Run a statement that the server formats itself, since identifiers cannot be parameters."""
        await self._admin.execute(await self._admin.fetchval(template, *names))


@asynccontextmanager
async def bench_databases(database: str | None) -> AsyncIterator[BenchDatabases]:
    """Yield databases beside the given one, or on a temporary embedded server."""
    async with AsyncExitStack() as stack:
        dsn = database
        if dsn is None:
            embedded = Postgres(settings={"max_connections": "200"})
            dsn = (await stack.enter_async_context(embedded)).dsn
        try:
            with translate_errors():
                admin = await asyncpg.connect(dsn, timeout=10)
        except (ValueError, asyncpg.PostgresError) as error:
            raise DatabaseUnavailable(f"The database cannot be reached: {error}") from error
        stack.push_async_callback(admin.close)
        made = BenchDatabases(admin, dsn)
        stack.push_async_callback(made.drop_all)
        try:
            await made.prepare(embedded=database is None)
        except asyncpg.InsufficientPrivilegeError as error:
            message = f"The bench makes databases of its own, and may not: {error}"
            raise ChatdError(message) from error
        yield made
