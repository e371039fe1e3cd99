"""Server tools that raise, ignore their cancellation, or run while the process stops."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import anyio
import pytest
from support.client_tools import calling_provider, results_in, results_of_all_calls
from support.eventually import eventually
from support.in_process import InProcessDaemon, fetch_rows, running_daemon
from support.providers import tool_call_delta
from support.tool_endpoint import ToolCallRequest, response, tool_endpoint, tools

from chatd.domain.tool_call import CallPolicy
from chatd.domain.tool_call_errors import CANCELLED, OUTCOME_UNKNOWN
from chatd.store.database import Database
from chatd.tools.registry import ToolRegistry
from chatd.tools.tool import Tool, ToolOutcome, ToolProgress, ToolRequest


async def never(_: ToolCallRequest) -> bytes:
    await asyncio.sleep(3600)
    raise AssertionError


def offer(
    chatd: InProcessDaemon,
    *,
    seconds: float = 0.05,
    **functions: Callable[[ToolRequest], Awaitable[Any]],
) -> None:
    """Have the daemon offer tools that are functions of a test, each with ``seconds`` for a call."""
    registry = ToolRegistry(
        Tool(
            name=name,
            description="",
            parameters={"type": "object"},
            policy=CallPolicy.AT_MOST_ONCE,
            timeout_seconds=seconds,
            run=function,
        )
        for name, function in functions.items()
    )
    current = chatd.daemon.config.current
    # Not by ``replace`` of the holder, which configures the log, too.
    chatd.daemon.config.current = replace(current, turn=replace(current.turn, tools=registry))


async def test_tool_that_raises_is_a_result_and_no_failed_turn(dsn: str) -> None:
    async def broken(_: ToolRequest) -> ToolOutcome:
        raise ZeroDivisionError("secret")

    provider = calling_provider([tool_call_delta("broken", "c1")])
    async with running_daemon(dsn, provider) as chatd:
        offer(chatd, broken=broken)
        chat = await chatd.api.create("go")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        text = "The tool failed: ZeroDivisionError. It may have had effects."
        assert results_in(provider.requests[1]) == [("c1", text, True)]
        assert len(chatd.logged("tool.panicked", tool="broken")) == 1


@pytest.mark.parametrize("interrupted", [False, True])
async def test_tool_that_ignores_its_cancellation_delays_no_chat(
    dsn: str, interrupted: bool
) -> None:
    go, started = anyio.Event(), anyio.Event()

    async def stubborn(request: ToolRequest) -> ToolOutcome:
        request.on_progress(ToolProgress(text="half"))
        started.set()
        with anyio.CancelScope(shield=True):
            await go.wait()
        return ToolOutcome(text="too late")

    provider = calling_provider([tool_call_delta("stubborn", "c1")])
    async with running_daemon(dsn, provider) as chatd:
        offer(chatd, seconds=60.0 if interrupted else 0.05, stubborn=stubborn)
        chat = await chatd.api.create("go")
        await started.wait()
        began = anyio.current_time()
        if interrupted:
            await chatd.api.interrupt(chat["id"])
        await chatd.api.wait_for_status(chat["id"], "waiting")
        [result] = await results_of_all_calls(chatd, chat["id"])
        if interrupted:
            assert anyio.current_time() - began < 1.0
            assert result == f"{CANCELLED['other']} Output so far:\nhalf"
        else:
            assert result == "Stopped after 0.05 s. It may have had effects. Output so far:\nhalf"
        go.set()
        await eventually(lambda: not chatd.daemon.chat_tasks.leases)
        assert await results_of_all_calls(chatd, chat["id"]) == [result]


async def test_stop_of_the_process_keeps_results_and_leaves_others_to_the_next(
    dsn: str, database: Database
) -> None:
    async def answer(request: ToolCallRequest) -> bytes:
        return await never(request) if request.target == "/pay" else response("seen")

    calls = [tool_call_delta("look", "c1"), tool_call_delta("pay", "c2", index=1)]
    async with tool_endpoint(answer) as endpoint:
        async with running_daemon(dsn, calling_provider(calls), **tools(endpoint)) as chatd:
            chat = await chatd.api.create("go")
            await eventually(lambda: len(endpoint.requests) == 2)
            await chatd.stop()
        rows = await fetch_rows(database, "SELECT * FROM chat_tool_calls ORDER BY position")
        assert [row["state"] for row in rows] == ["closed", "started"]
        [stored] = await fetch_rows(database, "SELECT status FROM chats")
        assert stored["status"] == "pending"
        async with running_daemon(dsn, calling_provider(calls), **tools(endpoint)) as chatd:
            await chatd.api.wait_for_status(chat["id"], "waiting")
            assert await results_of_all_calls(chatd, chat["id"]) == ["seen", OUTCOME_UNKNOWN]
        assert len(endpoint.requests) == 2
