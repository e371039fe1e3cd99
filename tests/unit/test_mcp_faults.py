"""MCP servers that misbehave: no caller waits for longer than it wants to, and nothing of them stays."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest
from structlog.testing import capture_logs
from support.eventually import eventually
from support.mcp_servers import config, living, running, running_program

from chatd.tools.mcp import availability, intake
from chatd.tools.mcp.availability import MAX_LOST_CONNECTIONS, ServerState
from chatd.tools.mcp.config import StdioEndpoint
from chatd.tools.mcp.link import MAX_ERROR_OUTPUT_BYTES
from chatd.tools.mcp.server import McpServer


def tries(folder: Path) -> list[str]:
    file = folder / "pids"
    return file.read_text().split() if file.exists() else []


@dataclass
class Pause:
    """A time for which the event loop did nothing else."""

    seconds: float = 0.0


@asynccontextmanager
async def longest_pause() -> AsyncIterator[Pause]:
    """Watch the event loop during the body."""
    longest = Pause()

    async def watch() -> None:
        while True:
            began = anyio.current_time()
            await anyio.sleep(0.005)
            longest.seconds = max(longest.seconds, anyio.current_time() - began)

    async with anyio.create_task_group() as group:
        group.start_soon(watch)
        yield longest
        group.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("fault", "connect_seconds", "reason"),
    [
        ("black hole", 0.3, "it was not ready within 0.3 s"),
        ("early exit", 20, "its program ended with exit code 3"),
        ("garbage", 20, "what it writes is not MCP"),
        ("endless line", 20, "it sent a message of more than 8 MiB"),
    ],
)
async def test_server_that_cannot_be_connected_costs_its_time_once(
    fault: str, connect_seconds: float, reason: str, tmp_path: Path
) -> None:
    with capture_logs() as logs:
        async with running_program(fault, tmp_path, connect_seconds=connect_seconds) as server:
            await eventually(lambda: server.state is ServerState.FAILED)
            tools = await server.tools()
            assert not tools.tools
            assert server.absence == f"MCP server srv is not available: {reason}"
            assert server.state is ServerState.FAILED
            with anyio.fail_after(0.2):  # it is known to be unavailable
                result = await server.call("echo", {}, seconds=60)
                assert await server.tools() == tools
            assert result.is_error
            assert result.text == f"{server.absence}. The tool was not called."
            await eventually(lambda: not living(tmp_path))
    (failure,) = [entry for entry in logs if entry["event"] == "mcp.failed"]
    assert (failure["reason"], failure["retry_seconds"]) == (reason, 30.0)
    if fault == "early exit":
        assert failure["error_output"] == "cannot find my configuration\n"


async def test_missing_command_is_named_in_words() -> None:
    async with running(McpServer(config(StdioEndpoint(command="/no/such/program")))) as server:
        await server.tools()
        assert server.absence == "MCP server srv is not available: its command was not found"


async def test_server_that_failed_is_tried_again_after_a_reload(tmp_path: Path) -> None:
    async with running_program("early exit", tmp_path) as server:
        await server.tools()
        before = len(tries(tmp_path))
        server.retry_now()
        await eventually(lambda: len(tries(tmp_path)) > before)


async def test_server_that_was_never_listed_is_tried_again_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(availability, "FIRST_PAUSE_SECONDS", 0.05)
    async with running_program("early exit", tmp_path):
        await eventually(lambda: len(tries(tmp_path)) > 2)


async def test_slow_start_is_waited_for(tmp_path: Path) -> None:
    async with running_program("slow start", tmp_path) as server:
        assert (await server.call("echo", {"a": 1}, seconds=20)).text == '{"a": 1}'


async def test_lines_that_are_not_mcp_are_passed_by(tmp_path: Path) -> None:
    async with running_program("greeting", tmp_path) as server:
        assert (await server.call("echo", {"a": 1}, seconds=20)).text == '{"a": 1}'


async def test_deaf_server_delays_a_call_by_its_time_limit_and_no_more() -> None:
    async with running_program() as server:
        await server.tools()
        with anyio.fail_after(1.5):
            result = await server.call("sleep", {}, seconds=0.3)
    assert result.is_error
    assert result.text == "Stopped after 0.3 s without a result. It may have had effects."


async def test_cancelled_caller_returns_at_once_from_a_server_that_ignores_it(
    tmp_path: Path,
) -> None:
    async with running_program("stays", tmp_path) as server:
        await server.tools()
        began = anyio.current_time()
        with anyio.move_on_after(0.1) as scope:
            await server.call("sleep", {}, seconds=60)
        assert scope.cancelled_caught
        assert anyio.current_time() - began < 0.9


async def test_stop_leaves_no_process_of_a_server_that_ignores_sigterm(tmp_path: Path) -> None:
    async with running_program("stays", tmp_path) as server:
        await server.call("echo", {}, seconds=20)
        assert len(living(tmp_path)) == 2
    assert not living(tmp_path)


async def test_server_that_exits_during_a_call_is_started_again_for_the_next(
    tmp_path: Path,
) -> None:
    async with running_program("none", tmp_path) as server:
        result = await server.call("exit", {"code": 7}, seconds=20)
        assert result.is_error
        assert result.text == (
            "MCP server srv: its program ended with exit code 7. The call may have had effects."
        )
        assert (await server.call("echo", {}, seconds=20)).text == "{}"
        assert len(tries(tmp_path)) == 2


async def test_server_that_is_killed_during_a_call_is_told_of(tmp_path: Path) -> None:
    async with running_program("none", tmp_path) as server:
        result = await server.call("exit", {"signal": 9}, seconds=20)
        assert result.text == (
            "MCP server srv: its program was ended by SIGKILL. The call may have had effects."
        )


async def test_server_that_ends_once_it_is_listed_is_not_started_in_a_loop(tmp_path: Path) -> None:
    async with running_program("ends once listed", tmp_path) as server:
        await server.tools()
        for _ in range(MAX_LOST_CONNECTIONS + 3):
            result = await server.call("echo", {}, seconds=20)
            assert result.is_error
            assert "its program ended with exit code 0" in result.text
        assert server.state is ServerState.FAILED
        assert len(tries(tmp_path)) <= MAX_LOST_CONNECTIONS


async def test_result_ends_a_series_of_lost_connections(tmp_path: Path) -> None:
    async with running_program("none", tmp_path) as server:
        for _ in range(MAX_LOST_CONNECTIONS):
            assert (await server.call("echo", {}, seconds=20)).text == "{}"
            await server.call("exit", {}, seconds=20)
        assert (await server.call("echo", {}, seconds=20)).text == "{}"


async def test_answer_to_nobodys_request_is_passed_by(tmp_path: Path) -> None:
    async with running_program("wrong id", tmp_path) as server:
        await server.tools()
        result = await server.call("echo", {}, seconds=0.3)
        assert result.text == "Stopped after 0.3 s without a result. It may have had effects."
        assert server.state is ServerState.READY


async def test_errors_without_end_disturb_no_call(tmp_path: Path) -> None:
    async with running_program("errors without end", tmp_path) as server:
        await server.tools()
        async with longest_pause() as pause:
            for _ in range(20):
                assert (await server.call("echo", {}, seconds=20)).text == "{}"
        assert pause.seconds < 1.0
        assert len(server._link.error_output) <= MAX_ERROR_OUTPUT_BYTES


@pytest.mark.parametrize(
    ("tool", "reason"),
    [
        ("large_line", "it sent a message of more than 8 MiB"),
        ("flood", "it sends messages without end"),
    ],
)
async def test_output_without_end_ends_the_connection_and_not_the_daemon(
    tool: str, reason: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(intake, "MAX_UNREQUESTED_MESSAGES", 200)
    async with running_program("none", tmp_path) as server:
        await server.tools()
        async with longest_pause() as pause:
            result = await server.call(tool, {}, seconds=20)
        assert result.text == f"MCP server srv: {reason}. The call may have had effects."
        assert pause.seconds < 1.0
        assert (await server.call("echo", {}, seconds=20)).text == "{}"
