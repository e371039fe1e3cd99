"""Roles of a test's own on a server, with their databases."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg

PASSWORD = "first_of_two"


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """A role that may log in, and the URL of its own database."""

    name: str
    dsn: str
    admin_dsn: str
    """The same database, as the superuser."""

    def url(self, password: str) -> str:
        """Return the URL of the database with another password."""
        return self.dsn.replace(f":{PASSWORD}@", f":{password}@")

    async def execute(self, *statements: str) -> None:
        """Run statements as the superuser. ``{role}`` stands for the role's name."""
        admin = await asyncpg.connect(self.admin_dsn)
        try:
            for statement in statements:
                await admin.execute(statement.replace("{role}", self.name))
        finally:
            await admin.close()

    async def disconnect(self) -> None:
        """End all sessions of the role."""
        await self.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'"
        )


@asynccontextmanager
async def temporary_role(server: str, *, options: str = "") -> AsyncIterator[Role]:
    """Create a role and a database that belongs to it."""
    name = f"chatd_role_{uuid4().hex[:12]}"
    admin = await asyncpg.connect(server)
    await admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
    await admin.execute(f"CREATE DATABASE {name} OWNER {name} {options}")
    parts = urlsplit(server)._replace(path=f"/{name}")
    host = parts.netloc.rpartition("@")[2]
    try:
        yield Role(
            name=name,
            dsn=parts._replace(netloc=f"{name}:{PASSWORD}@{host}").geturl(),
            admin_dsn=parts.geturl(),
        )
    finally:
        await admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await admin.execute(f"DROP ROLE {name}")
        await admin.close()
