"""Helper of the TypeScript client that runs a client's own tools, against a daemon."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from support.client_tools import provider_of_rounds, results_of_all_calls
from support.eventually import eventually
from support.in_process import InProcessDaemon, running_daemon
from support.node import node_process

pytestmark = pytest.mark.slow  # as the others: one process builds the client

NAMES = ("echo", "named", "nothing", "fails", "large", "no_json", "slow", "hangs", "removed")
TOOLS = [{"name": name, "parameters": {"type": "object"}} for name in NAMES]


@asynccontextmanager
async def waiting_chat(
    dsn: str, *rounds: Sequence[tuple[str, str]]
) -> AsyncIterator[tuple[InProcessDaemon, str]]:
    """Run a daemon with a chat that waits for the calls of the first round."""
    async with running_daemon(dsn, provider_of_rounds(*rounds)) as chatd:
        chat = await chatd.api.create("go", tools=TOOLS)
        await chatd.api.wait_for_status(chat["id"], "requires_action")
        yield chatd, chat["id"]


@asynccontextmanager
async def tool_client(
    built: Path, chatd: InProcessDaemon, chat_id: str, label: str = "", *, dies: bool = False
) -> AsyncIterator[list[dict[str, Any]]]:
    """Run the client, and yield what it prints. At the end it is killed if it ``dies``, else awaited."""
    script, printed = str(built / "test" / "tools.js"), list[dict[str, Any]]()
    async with node_process(script, str(chatd.api.http.base_url), chat_id, label) as process:

        async def read() -> None:
            assert process.stdout is not None
            async for line in process.stdout:
                printed.append(json.loads(line))

        reading = asyncio.create_task(read())
        try:
            yield printed
            await eventually(
                lambda: dies or (printed[-1:] and printed[-1]["event"] == "end"),
                describe=lambda: f"{label} printed {printed}, exit code {process.returncode}",
            )
        finally:
            if process.returncode is None:
                process.kill()
            await reading


async def test_functions_answer_calls_and_what_goes_wrong_is_a_result(
    built: Path, dsn: str
) -> None:
    first = [(name, "{}") for name in NAMES if name != "hangs"] + [("echo", "[1]"), ("echo", '{"a')]
    second = [("echo", f'{{"n": {n}}}') for n in range(5)]
    async with waiting_chat(dsn, first, second) as (chatd, chat_id):
        async with tool_client(built, chatd, chat_id, "me") as printed:
            await chatd.api.wait_for_status(chat_id, "waiting")
        results = await results_of_all_calls(chatd, chat_id)
        assert results[:8] == [
            {},
            "me",
            None,
            "RangeError: no such town",
            "The result has 102 bytes. At most 50 are allowed.",
            "TypeError: Do not know how to serialize a BigInt",
            "Stopped after 0.05 s. It may have had effects.",
            "This client has no tool named removed.",
        ]
        assert all("The arguments are not a JSON object: " in text for text in results[8:10])
        assert results[10:] == [{"n": n} for n in range(5)]
        assert max(line.get("running", 0) for line in printed) == 2
        assert printed[-1]["status"] == "waiting"


async def test_interrupt_aborts_running_functions(built: Path, dsn: str) -> None:
    async with waiting_chat(dsn, [("hangs", "{}")]) as (chatd, chat_id):
        async with tool_client(built, chatd, chat_id) as printed:
            await eventually(lambda: printed)
            await chatd.api.interrupt(chat_id)
        assert [line["event"] for line in printed] == ["start", "abort", "end"]
        assert await results_of_all_calls(chatd, chat_id) == ["cancelled"]


async def test_two_clients_and_a_restarted_one_give_each_call_one_result(
    built: Path, dsn: str
) -> None:
    rounds = [[("named", "{}"), ("named", "{}")]] * 3
    async with waiting_chat(dsn, [("hangs", "{}")], *rounds) as (chatd, chat_id):
        keys = []
        for _ in range(2):  # the first one dies, the second one runs the same call
            async with tool_client(built, chatd, chat_id, dies=True) as printed:
                await eventually(lambda printed=printed: printed)
                keys.append(printed[0]["key"])
        assert keys[0] == keys[1]
        await chatd.api.submit_tool_results(chat_id, {"c0": "by hand"})
        async with (
            tool_client(built, chatd, chat_id, "a") as first,
            tool_client(built, chatd, chat_id, "b") as second,
        ):
            await chatd.api.wait_for_status(chat_id, "waiting")
        assert first[-1]["status"] == second[-1]["status"] == "waiting"
        results = await results_of_all_calls(chatd, chat_id)
        assert results[0] == "by hand"
        assert [results[1:3], results[3:5], results[5:7]] == [
            [winner] * 2 for winner in results[1:7:2]
        ]
        assert len(await chatd.journal(chat_id, "submit_tool_results")) == 4
