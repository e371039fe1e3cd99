"""Connections to servers, and the one import of the SDK: at the first connection, in a thread."""

import importlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol

import anyio.to_thread

from chatd.tools.mcp.config import McpServerConfig
from chatd.tools.mcp.link import Link
from chatd.tools.mcp.listing import ListedTool
from chatd.tools.tool import GivenInput, ReportProgress, ToolOutcome

_SDK_MODULE: Final = "chatd.tools.mcp.sdk"


class ConnectionLost(Exception):
    """The connection is of no use any more. The message says why, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedTools:
    """The tools of a server as it lists them, and how long it says that the list holds."""

    tools: Sequence[ListedTool]
    ttl_seconds: float


class Connection(Protocol):
    """Session with a server."""

    async def list_tools(self) -> ListedTools:
        """Return the tools of the server. Raise ``ConnectionLost``."""
        ...

    async def call(
        self,
        tool: str,
        args: Mapping[str, Any],
        on_progress: ReportProgress,
        given: GivenInput | None = None,
    ) -> ToolOutcome:
        """Call a tool, or go on with a call that needed input. Raise ``ConnectionLost``."""
        ...


async def load_sdk() -> None:
    """Import the SDK, once. Raise ``ImportError`` if it is not installed."""
    await anyio.to_thread.run_sync(importlib.import_module, _SDK_MODULE)


@asynccontextmanager
async def open_connection(config: McpServerConfig, link: Link) -> AsyncIterator[Connection]:
    """Connect to a server, after ``load_sdk``. Raises whatever the SDK does."""
    sdk = importlib.import_module(_SDK_MODULE)
    async with sdk.open_sdk_connection(config, link) as connection:
        yield connection
