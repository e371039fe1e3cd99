"""MCP servers that behave: calls, lists of tools, and when their programs run."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest
import structlog
from support.eventually import eventually
from support.mcp_servers import config, living, program, running, running_program

from chatd.tools.mcp import intake
from chatd.tools.mcp.availability import ServerState
from chatd.tools.mcp.config import StdioEndpoint
from chatd.tools.mcp.server import McpServer
from chatd.tools.mcp.servers import McpServers
from chatd.tools.registry import ToolRegistry
from chatd.tools.tool import ToolProgress

CLOCK = 1000.0


def pids(folder: Path) -> list[str]:
    return (folder / "pids").read_text().split()


async def test_call_returns_what_the_tool_says() -> None:
    async with running_program() as server:
        result = await server.call("echo", {"a": [1, "ä"]}, seconds=20)
        assert (json.loads(result.text), result.is_error) == ({"a": [1, "ä"]}, False)
        result = await server.call("fail", {}, seconds=20)
        assert (result.text, result.is_error) == ("it failed", True)


async def test_program_has_no_variables_but_its_own_and_three_of_the_daemon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CHATD_DATABASE__URL", "postgresql://secret")
    monkeypatch.setenv("LANG", "C.UTF-8")
    async with running(McpServer(config(program(API_KEY="mine")))) as server:
        environment = json.loads((await server.call("environment", {}, seconds=20)).text)
    environment.pop("LC_CTYPE", None)  # Python's own
    assert environment == {
        "API_KEY": "mine",
        **{name: os.environ[name] for name in ("PATH", "HOME", "LANG")},
    }


async def test_content_of_an_unknown_kind_is_named() -> None:
    async with running_program() as server:
        result = await server.call("content", {"content": [{"type": "hologram"}]}, seconds=20)
    assert result.is_error
    assert result.text == (
        "The tool ran, but its result is not as MCP has it. "
        "It has parts of a kind that is not known here: hologram."
    )


async def test_what_is_no_utf8_in_a_result_is_replaced() -> None:
    async with running_program() as server:
        result = await server.call("no_utf8", {}, seconds=20)
    assert (result.text, result.is_error) == ("a \ufffd\ufffd( b", False)


async def test_progress_is_reported_and_however_often_ends_no_connection(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(intake, "MAX_UNREQUESTED_MESSAGES", 100)
    (tmp_path / "go").touch()
    reports: list[ToolProgress] = []
    async with running_program("none", tmp_path) as server:
        result = await server.call("steps", {"steps": 500}, seconds=20, on_progress=reports.append)
    assert (result.text, len(reports)) == ("all steps done", 500)
    assert reports[0] == ToolProgress(progress=1, total=500, message="step 1")


async def test_large_result_arrives_whole() -> None:
    async with running_program() as server:
        assert len((await server.call("large", {"size": 5_000_000}, seconds=20)).text) == 5_000_000


async def test_calls_beyond_the_limit_wait_and_are_not_made_when_given_up(tmp_path: Path) -> None:
    async with running_program("none", tmp_path, max_calls=1) as server:
        await server.tools()
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: server.call("sleep", {"seconds": 1.0}, seconds=20))
            await eventually(lambda: server._running)
            given_up = await server.call("record", {"text": "given up"}, seconds=0.1)
            made = await server.call("record", {"text": "made"}, seconds=20)
    assert given_up.text == (
        "MCP server srv did not take the call within 0.1 s. The tool was not called."
    )
    assert made.text == "recorded"
    assert (tmp_path / "calls").read_text() == "made\n"


async def test_idle_program_stops_and_starts_again_for_a_call(tmp_path: Path) -> None:
    async with running_program("none", tmp_path, idle_seconds=0.05) as server:
        before = await server.tools()
        await eventually(lambda: not living(tmp_path) and server.state is ServerState.IDLE)
        assert await server.tools() == before
        assert len(pids(tmp_path)) == 1  # a list that is known starts no program
        assert (await server.call("echo", {}, seconds=20)).text == "{}"
        assert len(pids(tmp_path)) == 2


async def test_list_of_ten_thousand_tools_is_cut_in_words() -> None:
    async with running_program("many tools") as server:
        tools = await server.tools()
    assert [tool.name for tool in tools.tools] == [f"tool{n:05}" for n in range(64)]
    assert tools.notices == [
        (
            "MCP server srv has at least 10000 tools, of which the first 64 are offered: choose with "
            "mcp.srv.tools, or raise max_tools"
        )
    ]


async def test_log_says_once_what_a_server_offers_in_vain() -> None:
    servers = McpServers([config(program("many tools"))])
    async with running(servers.servers[0]):
        with structlog.testing.capture_logs() as logged:
            for own in (ToolRegistry(), ToolRegistry()):
                assert len((await servers.snapshot(own)).tools) == 64
    [line] = [line for line in logged if line["event"] == "mcp.notice"]
    assert line["notice"].startswith("MCP server srv has at least 10000 tools")


async def test_pages_without_end_are_read_up_to_a_bound() -> None:
    async with running_program("pages without end") as server:
        assert len((await server.tools()).tools) == 11


async def test_schema_of_one_megabyte_costs_its_tool() -> None:
    async with running_program("large schema") as server:
        tools = await server.tools()
    assert "echo" not in [tool.name for tool in tools.tools]
    assert len(tools.tools) == 10
    assert tools.notices[0].startswith("'echo' of MCP server srv cannot be offered")


async def test_known_tools_are_offered_while_their_server_is_unavailable(tmp_path: Path) -> None:
    script = tmp_path / "server"
    script.symlink_to(program().command)
    endpoint = StdioEndpoint(command=str(script), args=program("none", tmp_path).args)
    async with running(McpServer(config(endpoint))) as server:
        known = await server.tools()
        await server.call("exit", {}, seconds=20)
        script.unlink()
        result = await server.call("echo", {}, seconds=20)
        assert result.text == (
            "MCP server srv is not available: its command was not found. The tool was not called."
        )
        assert await server.tools() == known
        assert server.absence == "MCP server srv is not available: its command was not found"


@pytest.mark.parametrize(("age", "lists_again"), [(299, False), (301, True)])
async def test_list_is_read_again_when_it_is_old(
    age: float, lists_again: bool, tmp_path: Path
) -> None:
    clock = [CLOCK]
    now: Callable[[], float] = lambda: clock[0]  # noqa: E731
    server = McpServer(config(program("none", tmp_path)), now=now)
    async with running(server):
        await server.tools()
        known = server._known.list
        clock[0] += age
        assert await server.tools() is known  # no caller waits for a new list
        assert server._known.wanted is lists_again
        if lists_again:
            await eventually(lambda: server._known.list is not known)


async def test_pause_after_a_failure_doubles_until_a_success(tmp_path: Path) -> None:
    clock = [CLOCK]
    script = tmp_path / "server"
    endpoint = StdioEndpoint(command=str(script), args=program("none", tmp_path).args)
    server = McpServer(config(endpoint), now=lambda: clock[0])
    async with running(server):
        pauses = []
        for _ in range(6):
            await server.tools()
            assert server.state is ServerState.FAILED
            pauses.append(server._availability.pause_seconds)
            clock[0] += pauses[-1]
        assert pauses == [30, 60, 120, 240, 300, 300]
        script.symlink_to(program().command)
        assert (await server.tools()).tools
        await server.call("exit", {}, seconds=20)
        script.unlink()
        await server.call("echo", {}, seconds=20)
        assert server._availability.pause_seconds == 30


async def test_missing_sdk_is_a_failure_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    async def load_sdk() -> None:
        raise ImportError

    monkeypatch.setattr("chatd.tools.mcp.server.load_sdk", load_sdk)
    monkeypatch.setattr("chatd.tools.mcp.availability.FIRST_PAUSE_SECONDS", 0.05)
    async with running_program() as server:
        await server.tools()
        assert server.absence == "MCP server srv is not available: the extra mcp is not installed"
        with anyio.fail_after(5):
            assert (await server.call("echo", {}, seconds=60)).is_error
        monkeypatch.undo()  # it is installed
        server.retry_now()
        assert (await server.call("echo", {}, seconds=20)).text == "{}"
