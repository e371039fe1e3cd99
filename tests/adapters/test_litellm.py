"""LiteLLM's proxy in front of chatd: models are listed, a chat is streamed, and a stop stops.

It runs with ``CHATD_TEST_LITELLM``: the path of a ``litellm`` that is installed with the extra ``proxy``,
or ``1``, which installs it in an environment of its own. That takes two minutes.
"""

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from socket import create_connection, socket
from typing import Any

import openai
import pytest
from support.child_process import child_process
from support.completions import completion_daemon
from support.eventually import eventually
from support.in_process import InProcessDaemon
from support.openai_clients import openai_options
from support.shared_daemon import SharedDaemon

from chatd.store.database import Database

_WANTED = os.environ.get("CHATD_TEST_LITELLM")
_INSTALL_SECONDS = 600
_START_SECONDS = 120

pytestmark = pytest.mark.skipif(not _WANTED, reason="CHATD_TEST_LITELLM is not set")


@pytest.fixture(scope="module")
def shared(module_dsn: str) -> Iterator[SharedDaemon]:
    with completion_daemon(module_dsn) as daemon:
        yield daemon


@pytest.fixture
async def chatd(shared: SharedDaemon) -> AsyncIterator[InProcessDaemon]:
    async with shared.as_new_owner() as daemon:
        yield daemon


def litellm(folder: Path) -> Path:
    """Return the program, installed in ``folder`` unless there is one."""
    assert _WANTED is not None
    if _WANTED != "1":
        return Path(_WANTED)
    for command in (
        [sys.executable, "-m", "venv", str(folder)],
        [str(folder / "bin" / "pip"), "install", "-q", "litellm[proxy]"],
    ):
        subprocess.run(command, check=True, timeout=_INSTALL_SECONDS)
    return folder / "bin" / "litellm"


def config(chatd: InProcessDaemon) -> dict[str, Any]:
    """Return what a user writes: all models that chatd has."""
    options = openai_options(chatd)
    chatd_model = {
        "model": "openai/*",
        "api_base": options["base_url"],
        "api_key": options["api_key"],
    }
    return {
        "model_list": [{"model_name": "openai/*", "litellm_params": chatd_model}],
        "litellm_settings": {"check_provider_endpoint": True},
        "general_settings": {"master_key": "sk-proxy"},
    }


async def test_litellm(chatd: InProcessDaemon, module_dsn: str, tmp_path: Path) -> None:
    program = litellm(tmp_path / "venv")
    settings = tmp_path / "config.yaml"
    settings.write_text(json.dumps(config(chatd)))  # JSON is YAML
    with socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def accepts() -> bool:
        with suppress(OSError), create_connection(("127.0.0.1", port), timeout=1):
            return True
        return False

    command = [program, f"--config={settings}", "--host=127.0.0.1", f"--port={port}"]
    with child_process(command):
        await eventually(accepts, _START_SECONDS, interval_seconds=0.2)
        url = f"http://127.0.0.1:{port}/v1"
        async with openai.AsyncOpenAI(base_url=url, api_key="sk-proxy") as client:
            assert {"openai/one", "openai/two"} == {
                model.id async for model in client.models.list()
            }
            assert await streamed(client, "hi") == "You said: hi"
            database = Database(module_dsn, pool_size=1)
            await database.open()
            try:
                await assert_stop_stops(client, database)
            finally:
                await database.close()


async def streamed(client: openai.AsyncOpenAI, text: str) -> str:
    stream = await client.chat.completions.create(
        model="openai/one", messages=[{"role": "user", "content": text}], stream=True
    )
    return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])


async def assert_stop_stops(client: openai.AsyncOpenAI, database: Database) -> None:
    """Check that a turn that would last for ever is gone once its client has left the proxy."""
    stream = await client.chat.completions.create(
        model="openai/one", messages=[{"role": "user", "content": "[[long]]"}], stream=True
    )
    async for chunk in stream:
        if chunk.choices[0].delta.content:
            break
    (row,) = await database.fetch("SELECT count(*) AS n FROM chats WHERE status = 'running'")
    assert row["n"] == 1
    await stream.close()

    async def is_gone() -> bool:
        return not await database.fetch("SELECT id FROM chats WHERE status = 'running'")

    await eventually(is_gone)
