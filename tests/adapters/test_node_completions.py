"""Chat Completions with the clients for Node, two majors of OpenAI's and the AI SDK's provider."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio.to_thread
import pytest
from support import node
from support.completions import completion_daemon
from support.in_process import InProcessDaemon
from support.npm_packages import OPENAI_DIR, require_packages
from support.openai_clients import openai_options
from support.shared_daemon import SharedDaemon


@pytest.fixture(scope="module")
def shared(module_dsn: str) -> Iterator[SharedDaemon]:
    require_packages(OPENAI_DIR)
    with completion_daemon(module_dsn) as daemon:
        yield daemon


@pytest.fixture
async def chatd(shared: SharedDaemon) -> AsyncIterator[InProcessDaemon]:
    async with shared.as_new_owner() as daemon:
        yield daemon


async def run(chatd: InProcessDaemon, *command: str) -> Any:
    options = openai_options(chatd)
    arguments = ("node", *command, options["base_url"], options["api_key"])
    output = await anyio.to_thread.run_sync(lambda: node.run(*arguments, folder=OPENAI_DIR))
    return json.loads(output)


@pytest.mark.parametrize("package", ["openai6", "openai7"])
async def test_openai(chatd: InProcessDaemon, package: str) -> None:
    assert await run(chatd, "completions.mjs", package) == {
        "models": ["one", "two"],
        "whole": ["You said: hi", 12],
        "stream": ["You said: hi", 12],
        "tool": [["Oslo"], "It is sunny."],
        "missing": {"error": "NotFoundError", "status": 404, "code": "model_not_found"},
        "busy": {"error": "RateLimitError", "status": 429, "code": "rate_limit"},
        "half": [
            "Half an answer",
            {"error": "APIError", "status": None, "code": "invalid_request"},
        ],
        "left": True,
    }


async def test_ai_sdk(chatd: InProcessDaemon) -> None:
    answers = await run(chatd, "compatible.mjs")
    assert answers == {
        "plain": ["You said: hi", "Let me think.", 12, "stop"],
        "tool": ["It is sunny.", ["Oslo"]],
        "failed": 1,
    }
