"""Fixtures of the tests of the store."""

from collections.abc import AsyncIterator

import pytest
from support.concurrency import WAIT_SECONDS
from support.factories import insert_models

from chatd.store.database import Database


@pytest.fixture
async def wide(dsn: str) -> AsyncIterator[Database]:
    """Yield a pool wide enough for tests with many concurrent statements."""
    pool = Database(dsn, pool_size=24, statement_timeout_seconds=WAIT_SECONDS)
    await pool.open()
    await insert_models(pool)
    yield pool
    await pool.close()
