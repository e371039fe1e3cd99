"""Sessions of the MCP SDK. Importing this module takes half a second: see ``connection``."""

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from mcp import Client
from mcp.client.session import ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp_types import (
    CONNECTION_CLOSED,
    INTERNAL_ERROR,
    INVALID_REQUEST,
    CallToolRequest,
    CallToolRequestParams,
    Implementation,
    PaginatedRequestParams,
    ToolAnnotations,
)
from pydantic import BaseModel, ConfigDict, ValidationError

from chatd import __version__
from chatd.tools.mcp.config import (
    MAX_LIST_BYTES,
    MAX_LISTED_TOOLS,
    MAX_MESSAGE_BYTES,
    HttpEndpoint,
    McpServerConfig,
    StdioEndpoint,
)
from chatd.tools.mcp.connection import ConnectionLost, ListedTools
from chatd.tools.mcp.http import bounded_client
from chatd.tools.mcp.link import Link
from chatd.tools.mcp.listing import NO_HINTS, ListedTool, ToolHints
from chatd.tools.mcp.results import to_result
from chatd.tools.mcp.stdio import stdio_transport
from chatd.tools.tool import ReportProgress, ToolOutcome, ToolProgress

# Its messages quote what servers send.
logging.getLogger("mcp").setLevel(logging.CRITICAL + 1)

_MAX_PAGES: Final = 200
"""Pages of a list of tools that are read."""

_CODES_FOR_STATUSES: Final = frozenset({INTERNAL_ERROR, INVALID_REQUEST})
"""Codes that the SDK makes of a status of HTTP."""


class _RawResult(BaseModel):
    """A result as it was sent. It was checked against the schema of the protocol."""

    model_config = ConfigDict(extra="allow")


class SdkConnection:
    """Session with one server."""

    def __init__(self, session: ClientSession, link: Link) -> None:
        self._session = session
        self._link = link

    async def list_tools(self) -> ListedTools:
        """Return the tools of the server, as far as they are read. Raise ``ConnectionLost``."""
        tools: list[ListedTool] = []
        cursor: str | None = None
        limit = self._link.intake.total_bytes + MAX_LIST_BYTES
        for _ in range(_MAX_PAGES):
            params = PaginatedRequestParams(cursor=cursor) if cursor else None
            try:
                page = await self._session.list_tools(params=params)
            except MCPError as error:
                raise ConnectionLost(self._reason(error)) from None
            except ValidationError:
                raise ConnectionLost("its list of tools is not as MCP has it") from None
            self._link.intake.settle()
            tools += [
                ListedTool(
                    name=tool.name,
                    description=tool.description or "",
                    parameters=tool.input_schema,
                    hints=_hints(tool.annotations),
                )
                for tool in page.tools
            ]
            cursor = page.next_cursor
            if not cursor or len(tools) >= MAX_LISTED_TOOLS:
                break
            if self._link.intake.total_bytes > limit:
                break
        return ListedTools(tools=tools[:MAX_LISTED_TOOLS], ttl_seconds=page.ttl_ms / 1000)

    async def call(
        self, tool: str, args: Mapping[str, Any], on_progress: ReportProgress
    ) -> ToolOutcome:
        """Call a tool. What the server refuses is a result. Raise ``ConnectionLost``.

        The session's own ``call_tool`` would check the result against a schema of the server.
        """
        request = CallToolRequest(params=CallToolRequestParams(name=tool, arguments=dict(args)))

        async def report(progress: float, total: float | None, message: str | None) -> None:
            self._link.intake.allow_progress()
            on_progress(ToolProgress(progress=progress, total=total, message=message or ""))

        try:
            raw = await self._session.send_request(request, _RawResult, progress_callback=report)
        except MCPError as error:
            if self._is_lost(error):
                raise ConnectionLost(self._reason(error)) from None
            return ToolOutcome(text=f"The server refused: {error.error.message}", is_error=True)
        except ValidationError as error:
            return ToolOutcome(text=_unreadable(error), is_error=True)
        finally:
            self._link.intake.settle()
        self._link.forget_refusal()
        return to_result(raw.model_extra or {})

    def _is_lost(self, error: MCPError) -> bool:
        """Return whether it is the connection that failed: it ended, or HTTP itself refused a request.

        An HTTP server that was started anew does not know the session, and answers 404.
        """
        code = error.error.code
        refused = bool(self._link.reason) and code in _CODES_FOR_STATUSES
        return self._link.ended or refused or code == CONNECTION_CLOSED

    def _reason(self, error: MCPError) -> str:
        return self._link.reason or f"it refused with code {error.error.code}"


@asynccontextmanager
async def open_sdk_connection(config: McpServerConfig, link: Link) -> AsyncIterator[SdkConnection]:
    """Connect to a server. Raises whatever the SDK does."""
    info = Implementation(name="chatd", version=__version__)
    match config.endpoint:
        case StdioEndpoint() as endpoint:
            transport = stdio_transport(endpoint, link)
            async with Client(transport, client_info=info, cache=None) as client:
                yield SdkConnection(client.session, link)
        case HttpEndpoint() as endpoint:
            async with bounded_client(endpoint, link) as http_client:
                http = streamable_http_client(
                    endpoint.url, http_client=http_client, max_sse_event_size=MAX_MESSAGE_BYTES
                )
                async with Client(http, client_info=info, cache=None) as client:
                    yield SdkConnection(client.session, link)


def _hints(annotations: ToolAnnotations | None) -> ToolHints:
    if annotations is None:
        return NO_HINTS
    return ToolHints(
        read_only=annotations.read_only_hint is True,
        destructive=annotations.destructive_hint is True,
    )


def _unreadable(error: ValidationError) -> str:
    """Return words on a result that is not as the protocol has it, with the kinds that are unknown."""
    kinds = sorted(
        {
            str(item["type"])[:100]
            for problem in error.errors(include_url=False)
            if isinstance(item := problem.get("input"), dict) and isinstance(item.get("type"), str)
        }
    )
    named = (
        f" It has parts of a kind that is not known here: {', '.join(kinds[:10])}." if kinds else ""
    )
    return f"The tool ran, but its result is not as MCP has it.{named}"
