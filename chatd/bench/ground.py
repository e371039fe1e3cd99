"""Where is measured: databases of the bench's own, on a given server or an embedded one."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg

from chatd.domain.errors import ChatdError, DatabaseUnavailable
from chatd.embedded import Postgres
from chatd.store import migrate
from chatd.store.pool import translate_errors

_SERVER = "SELECT current_setting('server_version'), current_setting('fsync')"
_CREATE = "SELECT format('CREATE DATABASE %I', $1::text)"
_COPY = "SELECT format('CREATE DATABASE %I TEMPLATE %I', $1::text, $2::text)"
_DROP = "SELECT format('DROP DATABASE IF EXISTS %I WITH (FORCE)', $1::text)"


class Ground:
    """Makes databases with the schema, each a copy of one that was migrated once."""

    def __init__(self, admin: "asyncpg.Connection[asyncpg.Record]", dsn: str) -> None:
        self._admin = admin
        self._dsn = dsn
        self._prefix = f"chatd_bench_{uuid4().hex[:8]}"
        self._made: list[str] = []
        self.server = ""
        """Which PostgreSQL this is, for the head of the report."""

    async def prepare(self, *, embedded: bool) -> None:
        version, fsync = await self._admin.fetchrow(_SERVER) or ("?", "?")
        where = "embedded" if embedded else "given"
        self.server = f"PostgreSQL {version.split()[0]}, {where}, fsync {fsync}"
        await self._do(_CREATE, self._name("template"))
        await migrate.up(self._dsn_of(f"{self._prefix}_template"))

    async def database(self, purpose: str) -> str:
        """The DSN of a new database that nobody else works in."""
        name = self._name(f"{len(self._made)}_{purpose}")
        await self._do(_COPY, name, f"{self._prefix}_template")
        return self._dsn_of(name)

    async def clear(self) -> None:
        """Drop everything that was made here."""
        while self._made:
            await self._do(_DROP, self._made.pop())

    def _name(self, purpose: str) -> str:
        self._made.append(name := f"{self._prefix}_{purpose}")
        return name

    def _dsn_of(self, name: str) -> str:
        return urlsplit(self._dsn)._replace(path=f"/{name}").geturl()

    async def _do(self, form: str, *names: str) -> None:
        """Run what the server itself makes of a form: identifiers cannot be parameters."""
        await self._admin.execute(await self._admin.fetchval(form, *names))


@asynccontextmanager
async def ground(database: str | None) -> AsyncIterator[Ground]:
    """Beside the given database, or on an embedded server that is thrown away."""
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
        made = Ground(admin, dsn)
        stack.push_async_callback(made.clear)
        try:
            await made.prepare(embedded=database is None)
        except asyncpg.InsufficientPrivilegeError as error:
            message = f"The bench makes databases of its own, and may not: {error}"
            raise ChatdError(message) from error
        yield made
