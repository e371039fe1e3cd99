"""Processes that are killed while tools run: a tool that may run once never runs twice.

``CHATD_TEST_TOOL_KILLS`` makes the test longer.
"""

import asyncio
import os
import random
import sys
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from support.database_inspector import inspect_database
from support.processes import chatd_process
from support.sse_client import clients
from support.tool_endpoint import ToolCallRequest, response, tool_endpoint

KILLS = int(os.environ.get("CHATD_TEST_TOOL_KILLS", "4"))

SCRIPTS = """
[providers.fake]
kind = "scripted"

[[providers.fake.script]]
tool_call = { name = "pay", id = "pay {call} {index}" }
calls = [1, 2, 3]

[[providers.fake.script]]
tool_call = { name = "look", id = "look {call} {index}" }
calls = [1, 2, 3]

[[providers.fake.script]]
tool_call = { name = "pay", id = "pay {call} {index}" }
calls = [1, 2, 3]

[[providers.fake.script]]
text = "Done."
calls = [4]

[models.fake]
provider = "fake"
model = "fake-1"
"""
SETTINGS = """
[worker]
max_recoveries = 1000

[http_tools.pay]
description = "Pay."
url = "{url}/pay"

[http_tools.look]
description = "Look."
url = "{url}/look"
policy = "idempotent"
"""


async def test_tool_that_runs_at_most_once_never_runs_twice(tmp_path: Path, dsn: str) -> None:
    """Each process is killed at a random moment of a turn with parallel calls, and replaced."""
    log = tmp_path / "effects"

    async def append(request: ToolCallRequest) -> bytes:
        with log.open("a") as file:
            file.write(f"{request.target} {request.key}\n")
        await asyncio.sleep(random.random() * 0.3)
        return response("ok")

    async with AsyncExitStack() as stack, inspect_database(dsn) as db:
        endpoint = await stack.enter_async_context(tool_endpoint(append))
        settings = SETTINGS.replace("{url}", endpoint.url)

        async def started(name: str) -> Any:
            process = chatd_process(tmp_path, dsn, name=name, settings=settings, scripts=SCRIPTS)
            worker = stack.enter_context(process)
            await worker.wait_until_ready()
            return worker

        chats: list[str] = []
        survivor = await started("survivor")
        for n in range(KILLS):
            victim = await started(f"victim{n}")
            async with clients([victim]) as apis:
                chats += [(await apis[victim.name].create("go"))["id"] for _ in range(3)]
            await asyncio.sleep(random.random() * 0.8)
            victim.kill()
        async with clients([survivor]) as apis:
            api = apis[survivor.name]
            for chat_id in chats:
                await api.wait_for_status(chat_id, "waiting", 60)
                messages = await api.messages(chat_id)
                roles = [message["role"] for message in messages]
                assert roles == ["user", *["assistant", "tool"] * 3, "assistant"]
                for calls, answers in zip(messages[1:-1:2], messages[2::2], strict=True):
                    ids = [[p["tool_call_id"] for p in m["content"]] for m in (calls, answers)]
                    assert ids[0] == ids[1]
        effects = Counter(log.read_text().splitlines())
        paid = [count for effect, count in effects.items() if effect.startswith("/pay ")]
        assert set(paid) <= {1}, "a tool that may run once ran twice"
        assert max(effects.values()) <= 3
        assert (
            await db.fetch_value("SELECT count(*) FROM chat_tool_calls WHERE state <> 'closed'")
            == 0
        )
        unknown = await db.fetch_value(
            "SELECT count(*) FROM chat_tool_calls WHERE answer->>'result' LIKE '%not run again%'"
        )
        again = await db.fetch_value("SELECT count(*) FROM chat_tool_calls WHERE tries > 1")
        sys.stderr.write(
            f"kills: {KILLS}, effects: {len(effects)}, unknown: {unknown}, again: {again}\n"
        )
