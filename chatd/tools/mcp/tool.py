"""Tools of MCP servers as tools that a turn may call."""

from collections.abc import Callable
from typing import Final

from chatd.domain.tool_call import CallPolicy
from chatd.domain.tool_choice import ToolKind
from chatd.tools.mcp.input_requests import is_for
from chatd.tools.mcp.listing import McpTool
from chatd.tools.mcp.server import McpServer
from chatd.tools.tool import Tool, ToolOutcome, ToolRequest

_MARGIN_SECONDS: Final = 1.0
"""Time of a call beyond that of its server, which says more when its own is over."""


def server_tool(
    server: McpServer, tool: McpTool, *, find: Callable[[str], McpServer | None]
) -> Tool:
    """Return a tool of a server. Its calls go to what ``find`` returns for the server's name by then."""
    name, seconds = server.config.name, server.config.call_seconds

    async def run(request: ToolRequest) -> ToolOutcome:
        current = find(name)
        if current is None:
            return ToolOutcome(
                text=f"{not_configured(name)}. The tool was not called.", is_error=True
            )
        if request.given is not None and not is_for(request.given, current.config):
            return ToolOutcome(
                text=f"MCP server {name} is another one than the one that asked, so it did not get "
                "the answer. The call may have had effects.",
                is_error=True,
            )
        return await current.call(
            tool.name,
            request.args,
            seconds=seconds,
            on_progress=request.on_progress,
            given=request.given,
        )

    return Tool(
        name=tool.offered_name,
        description=tool.description,
        parameters=tool.parameters,
        policy=CallPolicy.IDEMPOTENT if tool.idempotent else CallPolicy.AT_MOST_ONCE,
        timeout_seconds=seconds + _MARGIN_SECONDS,
        kind=ToolKind.MCP,
        server=name,
        by_default=server.config.default,
        run=run,
        permission=server.config.permission,
        read_only=tool.read_only,
        note=tool.note,
        checks_arguments=True,
    )


def not_configured(name: str) -> str:
    """Return words on a server that a chat or a turn still knows."""
    return f"MCP server {name} is not configured any more"
