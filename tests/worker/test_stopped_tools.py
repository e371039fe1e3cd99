"""A stop of a turn whose tools run: what is stored stays, what runs ends, what waits never starts."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import pytest
from support.client_tools import TOOLS, calling_provider, results_of_all_calls
from support.eventually import eventually
from support.in_process import InProcessDaemon, running_daemon
from support.providers import tool_call_delta
from support.tool_endpoint import ToolCallRequest, ToolEndpoint, response, tool_endpoint, tools

from chatd.domain.tool_call_errors import CANCELLED

Stop = Callable[[InProcessDaemon, str], Awaitable[Any]]
CALLS = [
    tool_call_delta("look", "c1"),
    tool_call_delta("pay", "c2", index=1),
    tool_call_delta("weather", "c3", index=2),
    tool_call_delta("pay", "c4", index=3),
    tool_call_delta("pay", "c5", index=4),
    tool_call_delta("look", "c6", index=5),
]
"""Of these the server runs two at once. It asks the client for the third when it has run all of its own."""


class ToolLog:
    """Log of the tools themselves: a line for each start, and one every few milliseconds while they run."""

    def __init__(self) -> None:
        self.lines: list[tuple[float, str, str]] = []

    def keys(self, tool: str) -> set[str]:
        return {key for _, target, key in self.lines if target == tool}

    async def run(self, request: ToolCallRequest) -> bytes:
        """Return at once from ``look``, and never from ``pay``."""
        self.lines.append((time.time(), request.target, request.key))
        while request.target == "/pay":
            await asyncio.sleep(0.005)
            self.lines.append((time.time(), request.target, request.key))
        return response("seen")


async def interrupt(chatd: InProcessDaemon, chat_id: str) -> None:
    await chatd.api.interrupt(chat_id)


async def send_and_interrupt(chatd: InProcessDaemon, chat_id: str) -> None:
    await chatd.api.send(chat_id, "something else", busy_behavior="interrupt")


async def promote(chatd: InProcessDaemon, chat_id: str) -> None:
    queued = (await chatd.api.send(chat_id, "something else"))["queued_message"]["id"]
    answer = await chatd.api.http.post(f"/api/v1/chats/{chat_id}/queue/{queued}/promote")
    assert answer.status_code == 200, answer.text


async def until_two_pay(endpoint: ToolEndpoint, log: ToolLog) -> None:
    """Wait until the first result is stored, and with it the call after the first two was started."""
    await eventually(lambda: len(log.keys("/pay")) == 2)
    assert len(endpoint.requests) == 3


@pytest.mark.parametrize("stop", [interrupt, send_and_interrupt, promote])
async def test_stop_keeps_stored_results_and_nothing_runs_after_it(dsn: str, stop: Stop) -> None:
    log, provider = ToolLog(), calling_provider(CALLS)
    async with (
        tool_endpoint(log.run) as endpoint,
        running_daemon(dsn, provider, **tools(endpoint, tools={"parallel": 2})) as chatd,
    ):
        chat = await chatd.api.create("go", tools=TOOLS)
        await until_two_pay(endpoint, log)
        [stored] = await chatd.journal(chat["id"], "close_calls")
        assert stored["data"]["closed"] == [
            {"tool_call_id": "c1", "tool_name": "look", "is_error": False}
        ]
        await stop(chatd, chat["id"])
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert await results_of_all_calls(chatd, chat["id"]) == [
            "seen",
            CANCELLED["other"],
            CANCELLED["asked"],
            CANCELLED["other"],
            CANCELLED["ready"],
            CANCELLED["ready"],
        ]
        [end] = await chatd.journal(chat["id"], "finish_interrupt")
        await eventually(lambda: endpoint.closed == 2)
        ended_at = datetime.fromisoformat(end["created_at"]).timestamp()
        late = [line for line in log.lines if line[0] > ended_at + 0.1]
        assert not late, "a tool ran after the stop was stored"
        assert (len(log.keys("/pay")), len(log.keys("/look"))) == (2, 1)
        assert not await chatd.journal(chat["id"], "require_action")
