"""A server that is reached over TCP, for tests in which a wire to it goes dead."""

from collections.abc import Iterator
from socket import socket

import pytest

from chatd.embedded import Postgres


@pytest.fixture(scope="module")
def far_server() -> Iterator[str]:
    """Its address."""
    with socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with Postgres(port=port, settings={"synchronous_commit": "off"}) as server:
        yield server.tcp_dsn
