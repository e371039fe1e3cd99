"""MCP servers of tests, run by their actors."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

import chatd.tools.mcp.sdk  # noqa: F401 - before any time limit of a test begins
from chatd.supervision.child import ChildHandle
from chatd.tools.mcp.config import McpServerConfig, StdioEndpoint
from chatd.tools.mcp.server import McpServer

PROGRAM = Path(__file__).with_name("mcp_program.py")
STOP_SECONDS = 6.0
"""Time in which a server and all that it started are gone, on a busy machine."""


def program(fault: str = "none", folder: Path | None = None, **env: str) -> StdioEndpoint:
    """Return the endpoint of a program with a fault of ``mcp_program``."""
    args = (str(PROGRAM), fault, *([str(folder)] if folder else []))
    return StdioEndpoint(command=sys.executable, args=("-I", "-S", *args), env=env)


def program_settings(
    fault: str = "none", folder: Path | None = None, **values: Any
) -> dict[str, Any]:
    """Return the settings of a program with a fault, as ``program`` does."""
    endpoint = program(fault, folder)
    args = list(endpoint.args)
    return {"command": endpoint.command, "args": args, "connect_seconds": 20.0, **values}


def config(endpoint: Any, **values: Any) -> McpServerConfig:
    """Return the configuration of a server, with time enough to start on a busy machine."""
    return McpServerConfig(
        **{"name": "srv", "endpoint": endpoint, "connect_seconds": 20.0, **values}
    )


@asynccontextmanager
async def running(server: McpServer) -> AsyncIterator[McpServer]:
    """Run the actor of a server around the body, and stop it."""
    child = ChildHandle(server.config.name)
    async with anyio.create_task_group() as group:
        group.start_soon(server.run, child)
        try:
            yield server
        finally:
            child.stopping.set()


@asynccontextmanager
async def running_program(
    fault: str = "none", folder: Path | None = None, **values: Any
) -> AsyncIterator[McpServer]:
    """Run a program with a fault, and its actor."""
    async with running(McpServer(config(program(fault, folder), **values))) as server:
        yield server


def living(folder: Path) -> list[int]:
    """Return the processes that the programs of a folder were or started, and that still run."""
    file = folder / "pids"
    pids = [int(line) for line in file.read_text().split()] if file.exists() else []
    return [pid for pid in pids if _lives(pid)]


def _lives(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
