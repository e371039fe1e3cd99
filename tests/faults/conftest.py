"""Fixtures of the tests of faults: a database behind a TCP proxy, and a connection past it."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
from support.databases import database_on_server
from support.postgres_proxy import PostgresProxy, postgres_proxy


@pytest.fixture
async def tcp_server_dsn(tcp_server: str) -> AsyncIterator[str]:
    """Yield a database that is reached over TCP, without a proxy."""
    async with database_on_server(tcp_server) as dsn:
        yield dsn


@pytest.fixture
async def proxy(tcp_server_dsn: str) -> AsyncIterator[PostgresProxy]:
    async with postgres_proxy(tcp_server_dsn) as proxy:
        yield proxy


@pytest.fixture
async def inspector(tcp_server_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(tcp_server_dsn)
    yield connection
    await connection.close()
