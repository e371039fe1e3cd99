"""A daemon for each module of tests. A test that needs its own settings or provider starts another."""

from collections.abc import AsyncIterator, Iterator

import pytest
from support.in_process import InProcessDaemon
from support.shared_daemon import SharedDaemon, shared_daemon


@pytest.fixture(scope="module")
def shared(module_dsn: str) -> Iterator[SharedDaemon]:
    """Run a daemon with the echo model for the tests of one module."""
    with shared_daemon(module_dsn) as daemon:
        yield daemon


@pytest.fixture
async def chatd(shared: SharedDaemon) -> AsyncIterator[InProcessDaemon]:
    """Yield the module's daemon, with a client that acts for an owner of this test's own."""
    async with shared.as_new_owner() as daemon:
        yield daemon
