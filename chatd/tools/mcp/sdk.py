"""Sessions of the MCP SDK. Importing this module takes half a second: see ``connection``."""

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio
from mcp.client.session import ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp_types import (
    CONNECTION_CLOSED,
    INTERNAL_ERROR,
    INVALID_REQUEST,
    UNSUPPORTED_PROTOCOL_VERSION,
    CallToolRequest,
    CallToolRequestParams,
    ClientCapabilities,
    ElicitationCapability,
    ElicitResult,
    FormElicitationCapability,
    Implementation,
    PaginatedRequestParams,
    ToolAnnotations,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import BaseModel, ConfigDict, ValidationError
from typing_extensions import override

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
from chatd.tools.mcp.input_requests import (
    is_input_required,
    needed_input,
    responses,
    state_alone,
)
from chatd.tools.mcp.link import Link
from chatd.tools.mcp.listing import NO_HINTS, ListedTool, ToolHints
from chatd.tools.mcp.results import to_result
from chatd.tools.mcp.stdio import stdio_transport
from chatd.tools.tool import GivenInput, ReportProgress, ToolOutcome, ToolProgress

# Its messages quote what servers send.
logging.getLogger("mcp").setLevel(logging.CRITICAL + 1)

_MAX_PAGES: Final = 200
"""Pages of a list of tools that are read."""

_MAX_REPEATS: Final = 6
_REPEAT_SECONDS: Final = 0.25
"""Pause before a call is repeated that only has a state. It doubles each time, up to 16 s in all."""

_CODES_FOR_STATUSES: Final = frozenset({INTERNAL_ERROR, INVALID_REQUEST})
"""Codes that the SDK makes of a status of HTTP."""


class _RawResult(BaseModel):
    """A result as it was sent. It was checked against the schema of the protocol."""

    model_config = ConfigDict(extra="allow")


class SdkConnection:
    """Session with one server."""

    def __init__(self, session: ClientSession, config: McpServerConfig, link: Link) -> None:
        self._session = session
        self._config = config
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
        self,
        tool: str,
        args: Mapping[str, Any],
        on_progress: ReportProgress,
        given: GivenInput | None = None,
    ) -> ToolOutcome:
        """Call a tool. What the server refuses is a result. Raise ``ConnectionLost``.

        A server that asks nobody, and has a state, wants to be called again in a moment.
        """
        inputs, state = responses(given) if given else ({}, None)
        for attempt in range(_MAX_REPEATS + 1):
            params = CallToolRequestParams(
                name=tool,
                arguments=dict(args),
                input_responses={key: ElicitResult(**each) for key, each in inputs.items()} or None,
                request_state=state,
            )
            raw = await self._send(CallToolRequest(params=params), on_progress)
            if isinstance(raw, ToolOutcome):
                return raw
            if not (self._is_stateless and is_input_required(raw)):
                return to_result(raw)
            inputs, state = {}, state_alone(raw)
            if state is None:
                return needed_input(raw, self._config)
            await anyio.sleep(_REPEAT_SECONDS * 2**attempt)
        text = "The tool asks again and again to be called later. It may have had effects."
        return ToolOutcome(text=text, is_error=True)

    @property
    def _is_stateless(self) -> bool:
        """True if no request depends on an earlier one, and so not on this connection."""
        return self._session.discover_result is not None

    async def _send(
        self, request: CallToolRequest, on_progress: ReportProgress
    ) -> Mapping[str, Any] | ToolOutcome:
        """Make one request. Return the result as it was sent, or the outcome if there is none.

        The session's own ``call_tool`` would check the result against a schema of the server.
        """

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
        return raw.model_extra or {}

    def _is_lost(self, error: MCPError) -> bool:
        """Return whether it is the connection that failed: it ended, or HTTP itself refused a request.

        An HTTP server that was started anew does not know the session, and answers 404.
        """
        code = error.error.code
        refused = bool(self._link.reason) and code in _CODES_FOR_STATUSES
        return self._link.ended or refused or code == CONNECTION_CLOSED

    def _reason(self, error: MCPError) -> str:
        return self._link.reason or f"it refused with code {error.error.code}"


class _Session(ClientSession):
    """Session that offers forms for people to servers of which no request depends on an earlier one.

    Others would ask while a call runs, and hold its connection for a person. The SDK offers both the
    same, and addresses for people with it.
    """

    @override
    def _build_capabilities(self, version: str) -> ClientCapabilities:
        offered = super()._build_capabilities(version)
        if version in MODERN_PROTOCOL_VERSIONS:
            offered.elicitation = ElicitationCapability(form=FormElicitationCapability())
        return offered


@asynccontextmanager
async def open_sdk_connection(config: McpServerConfig, link: Link) -> AsyncIterator[SdkConnection]:
    """Connect to a server. Raises whatever the SDK does."""
    info = Implementation(name="chatd", version=__version__)
    async with (
        _transport(config.endpoint, link) as (received, sent),
        _Session(received, sent, client_info=info) as session,
    ):
        await _negotiate(session)
        yield SdkConnection(session, config, link)


async def _negotiate(session: ClientSession) -> None:
    """Agree on a version of the protocol: one without a handshake, or else one with it."""
    try:
        await session.discover()
    except (MCPError, RuntimeError, ValidationError):  # it does not know of that, or not in common
        try:
            await session.initialize()
        except MCPError as error:
            if error.error.code != UNSUPPORTED_PROTOCOL_VERSION:
                raise
            await session.discover()  # it was only too slow the first time


@asynccontextmanager
async def _transport(
    endpoint: StdioEndpoint | HttpEndpoint, link: Link
) -> AsyncIterator[tuple[Any, Any]]:
    """Yield the streams from and to a server."""
    match endpoint:
        case StdioEndpoint():
            async with stdio_transport(endpoint, link) as streams:
                yield streams
        case HttpEndpoint():
            async with (
                bounded_client(endpoint, link) as http_client,
                streamable_http_client(
                    endpoint.url, http_client=http_client, max_sse_event_size=MAX_MESSAGE_BYTES
                ) as streams,
            ):
                yield streams


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
