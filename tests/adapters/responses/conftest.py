"""A daemon that serves responses, for each module, and OpenAI's client of it."""

from collections.abc import AsyncIterator, Iterator

import openai
import pytest
from support.in_process import InProcessDaemon
from support.openai_clients import openai_client
from support.responses import responses_model
from support.shared_daemon import SharedDaemon, shared_daemon


@pytest.fixture(scope="module")
def shared(module_dsn: str) -> Iterator[SharedDaemon]:
    with shared_daemon(
        module_dsn,
        responses_model(),
        adapters={"enabled": ["responses"]},
        http_tools={
            "pay": {
                "description": "Pay.",
                "url": "http://127.0.0.1:9/pay",
                "permission": "ask",
                "parameters": {"type": "object", "properties": {"amount": {"type": "integer"}}},
            }
        },
    ) as daemon:
        yield daemon


@pytest.fixture
async def chatd(shared: SharedDaemon) -> AsyncIterator[InProcessDaemon]:
    """Yield the module's daemon, with a client that acts for an owner of this test's own."""
    async with shared.as_new_owner() as daemon:
        yield daemon


@pytest.fixture
async def client(chatd: InProcessDaemon) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai_client(chatd) as client:
        yield client
