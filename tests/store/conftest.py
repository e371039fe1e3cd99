"""A wider pool, for tests in which many do something at once."""

from collections.abc import AsyncIterator

import pytest
from concurrency import SECONDS
from factory import models

from chatd.store.pool import Database


@pytest.fixture
async def wide(dsn: str) -> AsyncIterator[Database]:
    """A pool with room for everybody at once."""
    pool = Database(dsn, pool_size=24, statement_timeout_seconds=SECONDS)
    await pool.open()
    await models(pool)
    yield pool
    await pool.close()
