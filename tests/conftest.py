"""Real PostgreSQL for every test: the server of ``CHATD_TEST_DSN``, else an embedded one.

Each test gets a database of its own, copied from a template that is migrated once.
"""

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from socket import socket
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import hypothesis
import pytest
import structlog
from support.trials import trials

from chatd.embedded import Postgres
from chatd.store.database import Database
from chatd.store.migrations import migrate

# Tests start hundreds of Python processes. Without bytecode, each of them would compile chatd anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

pytest_plugins = ["support.log_event_coverage"]

# What the machine has to do besides is no failure of a property.
hypothesis.settings.register_profile(
    "chatd",
    max_examples=trials(50),
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("chatd")

# Rendering a traceback with all its local variables, as structlog does by default, takes seconds.
structlog.configure(
    processors=[
        *structlog.get_config()["processors"][:-1],
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
    ]
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the long tests, most of which wait, so that the end of a run does not wait for one."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


TEMPLATE = f"chatd_template_{uuid4().hex[:8]}"


_MEMORY_DIR = Path("/dev/shm")
_MEMORY_BYTES = 2 * 1024**3
"""Free space the file system in memory must have; containers often have 64 MB of it."""


@contextmanager
def _memory_tempdir() -> Iterator[None]:
    """Create temporary folders in memory where there is space: a cluster is three times as fast there."""
    before = tempfile.tempdir
    if os.access(_MEMORY_DIR, os.W_OK) and shutil.disk_usage(_MEMORY_DIR).free > _MEMORY_BYTES:
        tempfile.tempdir = str(_MEMORY_DIR)
    try:
        yield
    finally:
        tempfile.tempdir = before


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """Yield the DSN of a database on a server where tests may create other databases."""
    if dsn := os.environ.get("CHATD_TEST_DSN"):
        yield dsn
        return
    embedded = Postgres(settings={"max_connections": "300", "synchronous_commit": "off"})
    with ExitStack() as stack:
        with _memory_tempdir():  # for the folder of the cluster, and for no other one
            stack.enter_context(embedded)
        yield embedded.dsn


@pytest.fixture(scope="session")
def tcp_server() -> Iterator[str]:
    """Yield the DSN of a server reached over TCP, so that a proxy can stall its connections."""
    with socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with ExitStack() as stack:
        with _memory_tempdir():
            server = stack.enter_context(
                Postgres(port=port, settings={"synchronous_commit": "off"})
            )
        yield server.tcp_dsn


@pytest.fixture(scope="session")
def template(server: str) -> Iterator[str]:
    """Yield the name of a database that has the schema and no rows."""

    async def make() -> None:
        admin = await asyncpg.connect(server)
        await admin.execute(f"CREATE DATABASE {TEMPLATE}")
        await admin.close()
        await migrate.up(dsn_for(server, TEMPLATE))

    async def drop() -> None:
        admin = await asyncpg.connect(server)
        await admin.execute(f"DROP DATABASE IF EXISTS {TEMPLATE} WITH (FORCE)")
        await admin.close()

    asyncio.run(make())
    yield TEMPLATE
    asyncio.run(drop())


def dsn_for(server: str, database: str) -> str:
    """Return the DSN of another database on the same server."""
    return urlsplit(server)._replace(path=f"/{database}").geturl()


async def _temporary_database(server: str, template: str | None) -> AsyncGenerator[str]:
    name = f"chatd_test_{uuid4().hex[:12]}"
    admin = await asyncpg.connect(server)
    # Copying files costs half of what writing them through the log does.
    copy = f" TEMPLATE {template} STRATEGY FILE_COPY" if template else ""
    await admin.execute(f"CREATE DATABASE {name}{copy}")
    try:
        yield dsn_for(server, name)
    finally:
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.close()


@pytest.fixture(scope="module")
def module_dsn(server: str, template: str) -> Iterator[str]:
    """Yield a database with the schema, for the tests of one module that share a daemon."""
    databases = _temporary_database(server, template)
    with asyncio.Runner() as runner:
        try:
            yield runner.run(anext(databases))
        finally:
            runner.run(databases.aclose())


@pytest.fixture
async def empty_dsn(server: str) -> AsyncIterator[str]:
    """Yield the DSN of a database without a schema."""
    async for dsn in _temporary_database(server, None):
        yield dsn


@pytest.fixture
async def dsn(server: str, template: str) -> AsyncIterator[str]:
    """Yield the DSN of a database with the schema, which only this test uses."""
    async for one in _temporary_database(server, template):
        yield one


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    """Yield a connection pool on the database of this test."""
    pool = Database(dsn, pool_size=5, statement_timeout_seconds=10.0)
    await pool.open()
    yield pool
    await pool.close()
