"""Tools of MCP servers, from a model's call to the result that it reads."""

import json
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.client_tools import calling_provider, results_in
from support.eventually import eventually
from support.in_process import fetch_rows, running_daemon
from support.mcp_http_server import chosen_answers
from support.mcp_servers import living
from support.mcp_servers import program_settings as server
from support.providers import FunctionProvider, finished, text_delta, tool_call_delta
from support.tool_endpoint import tool_endpoint, tools

from chatd.domain.tool_call_errors import CANCELLED
from chatd.llm.provider import Delta, ModelRequest
from chatd.store.database import Database
from chatd.tools.mcp.connection import ListedTools
from chatd.tools.mcp.listing import ListedTool

TIME_SERVER = Path(sys.executable).with_name("mcp-server-time")


async def test_turn_goes_on_with_the_result_of_the_server(dsn: str, database: Database) -> None:
    provider = calling_provider(
        [
            tool_call_delta("srv__echo", "c1", '{"a": 1}'),
            tool_call_delta("srv__fail", "c2", index=1),
        ]
    )
    mcp = {"srv": server(tools=["echo", "fail"], idempotent=["echo"])}
    async with (
        tool_endpoint() as endpoint,
        running_daemon(dsn, provider, **tools(endpoint, mcp=mcp)) as chatd,
    ):
        chat = await chatd.api.create("go")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert [tool.name for tool in provider.requests[0].tools] == [
            "look",
            "pay",
            "srv__echo",
            "srv__fail",
        ]
        assert results_in(provider.requests[1]) == [
            ("c1", '{"a": 1}', False),
            ("c2", "it failed", True),
        ]
        rows = await fetch_rows(
            database, "SELECT tool_name, policy FROM chat_tool_calls ORDER BY 1"
        )
        assert [(row["tool_name"], row["policy"]) for row in rows] == [
            ("srv__echo", "idempotent"),
            ("srv__fail", "at_most_once"),
        ]


@pytest.mark.parametrize("fault", ["black hole", "early exit", "garbage"])
async def test_server_that_fails_delays_a_turn_once_and_costs_its_tools(
    fault: str, dsn: str, tmp_path: Path
) -> None:
    provider = calling_provider([])
    mcp = {"bad": server(fault, tmp_path, connect_seconds=1.0), "srv": server(tools=["echo"])}
    async with running_daemon(dsn, provider, mcp=mcp) as chatd:
        for _ in range(2):
            began = time.monotonic()
            chat = await chatd.api.create("go")
            await chatd.api.wait_for_status(chat["id"], "waiting")
            seconds = time.monotonic() - began
        assert [tool.name for tool in provider.requests[-1].tools] == ["srv__echo"]
        assert seconds < 1.0, "the second turn waits for nothing"
        assert [line["server"] for line in chatd.logs if line["event"] == "mcp.failed"] == ["bad"]
    assert not living(tmp_path)


async def test_interrupt_is_answered_within_a_second_by_a_server_that_ignores_it(
    dsn: str, tmp_path: Path
) -> None:
    provider = calling_provider([tool_call_delta("srv__sleep", "c1")])
    async with running_daemon(dsn, provider, mcp={"srv": server("stays", tmp_path)}) as chatd:
        chat = await chatd.api.create("go")
        mcp = chatd.daemon.services.mcp.servers[0]
        await eventually(lambda: mcp._running)
        began = time.monotonic()
        await chatd.api.interrupt(chat["id"])
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert time.monotonic() - began < 1.0
        [result] = [
            part
            for message in await chatd.api.messages(chat["id"])
            for part in message["content"]
            if part["type"] == "tool-result"
        ]
        assert (result["result"], result["is_error"]) == (CANCELLED["other"], True)


@pytest.mark.parametrize("kind", ["program", "address"])
async def test_interrupt_is_answered_within_a_second_while_a_server_is_awaited(
    kind: str, dsn: str, tmp_path: Path
) -> None:
    """A turn waits for the list of a server that was never listed. Nothing answers."""
    async with chosen_answers(lambda _: None) as deaf:
        address = {"url": deaf.url, "connect_seconds": 30.0}
        program = server("black hole", tmp_path, connect_seconds=30.0)
        mcp = {"bad": program if kind == "program" else address}
        async with running_daemon(dsn, calling_provider([]), mcp=mcp) as chatd:
            chat = await chatd.api.create("go")
            await chatd.api.wait_for_status(chat["id"], "running")
            began = time.monotonic()
            await chatd.api.interrupt(chat["id"])
            await chatd.api.wait_for_status(chat["id"], "waiting")
            assert time.monotonic() - began < 1.0
            assert (await chatd.api.http.get("/readyz")).status_code == 200
    assert not living(tmp_path)


async def test_tools_do_not_change_within_a_turn(dsn: str) -> None:
    offered: list[list[str]] = []

    async def act(request: ModelRequest) -> AsyncIterator[Delta]:
        offered.append([tool.name for tool in request.tools])
        if len(offered) == 1:
            mcp = chatd.daemon.services.mcp.servers[0]
            mcp._known.take(ListedTools(tools=listed[:1], ttl_seconds=300))
            yield tool_call_delta("srv__echo", "c1", index=0)
            yield finished("tool_call")
        else:
            yield text_delta("done")
            yield finished()

    listed = [
        ListedTool(name=name, description="", parameters={"type": "object"})
        for name in ("echo", "fail")
    ]
    mcp = {"srv": server(tools=["echo", "fail"])}
    async with running_daemon(dsn, FunctionProvider(act), mcp=mcp) as chatd:
        for _ in range(2):
            chat = await chatd.api.create("go")
            await chatd.api.wait_for_status(chat["id"], "waiting")
    both, one = ["srv__echo", "srv__fail"], ["srv__echo"]
    assert offered == [both, both, one]


async def test_reload_has_a_failed_server_tried_at_once(dsn: str, tmp_path: Path) -> None:
    script = tmp_path / "server"
    mcp = {"srv": {**server(tools=["echo"]), "command": str(script)}}
    provider = calling_provider([])
    async with running_daemon(dsn, provider, mcp=mcp) as chatd:
        await eventually(
            lambda: (
                [line["reason"] for line in chatd.logs if line["event"] == "mcp.failed"]
                == ["its command was not found"]
            )
        )
        script.symlink_to(sys.executable)
        chatd.daemon.config.replace(chatd.daemon.config.current)
        chat = await chatd.api.create("go")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert [tool.name for tool in provider.requests[0].tools] == ["srv__echo"]


@pytest.mark.skipif(not TIME_SERVER.exists(), reason="mcp-server-time is not installed")
async def test_server_that_nobody_here_wrote_tells_the_time(dsn: str) -> None:
    args = json.dumps({"timezone": "Europe/Oslo"})
    provider = calling_provider([tool_call_delta("time__get_current_time", "c1", args)])
    mcp = {"time": {"command": str(TIME_SERVER), "connect_seconds": 30.0}}
    async with running_daemon(dsn, provider, mcp=mcp) as chatd:
        chat = await chatd.api.create("What time is it in Oslo?")
        await chatd.api.wait_for_status(chat["id"], "waiting", timeout_seconds=60)
        [(_, result, is_error)] = results_in(provider.requests[1])
    assert not is_error
    assert json.loads(result)["timezone"] == "Europe/Oslo"
