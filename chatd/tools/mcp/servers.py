"""All MCP servers of a process, and the tools that a turn begins with."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import anyio
import structlog

from chatd.domain.notice import Notice
from chatd.domain.tool_choice import NO_CHOICE, ToolChoice, ToolKind
from chatd.tools.mcp.config import McpServerConfig
from chatd.tools.mcp.listing import ToolList
from chatd.tools.mcp.server import McpServer
from chatd.tools.mcp.tool import not_configured, server_tool
from chatd.tools.registry import ToolRegistry

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerChanges:
    """The servers that a new configuration no longer has, and those that it brings."""

    leaving: Sequence[McpServer]
    coming: Sequence[McpServer]


class McpServers:
    """The configured servers, in the order of their names."""

    def __init__(self, configs: Iterable[McpServerConfig] = ()) -> None:
        self.servers: Sequence[McpServer] = ()
        self.replace(configs)
        self._own = ToolRegistry()
        self._lists: Sequence[ToolList] = ()
        self._registry = ToolRegistry()
        self._noticed: frozenset[str] = frozenset()

    def replace(self, configs: Iterable[McpServerConfig]) -> ServerChanges:
        """Have the servers of these configurations from now on. Those that are as they were stay."""
        before = {server.config.name: server for server in self.servers}
        servers = []
        for config in sorted(configs, key=lambda each: each.name):
            server = before.get(config.name)
            servers.append(server if server and server.config == config else McpServer(config))
        self.servers = servers
        return ServerChanges(
            leaving=[server for server in before.values() if server not in servers],
            coming=[server for server in servers if server is not before.get(server.config.name)],
        )

    def find(self, name: str) -> McpServer | None:
        """Return the server of this name, as it is configured now."""
        return next((server for server in self.servers if server.config.name == name), None)

    async def snapshot(self, own: ToolRegistry, choice: ToolChoice = NO_CHOICE) -> ToolRegistry:
        """Return the tools of a chat with this choice: of ``own``, and of servers as they are listed now.

        It takes as long as the slowest of its servers may that was never listed, and no time if all were.
        The registry is the same as before if no list changed.
        """
        if not self.servers:
            return own.chosen(choice)
        lists = await self._read_lists(choice)
        if own is not self._own or lists != self._lists:
            self._own, self._lists = own, lists
            self._registry = self._merge(own, lists)
        return self._registry.chosen(choice)

    def notices(self, choice: ToolChoice = NO_CHOICE) -> Sequence[Notice]:
        """Return for people which servers of a chat with this choice are unavailable now."""
        if not self.servers and not choice.names:
            return ()
        names = {server.config.name for server in self.servers}
        missing = [name for name in choice.names.get(ToolKind.MCP, ()) if name not in names]
        absent = [
            (server.config.name, server.absence)
            for server in self.servers
            if server.absence and _is_chosen(server, choice)
        ]
        removed = [(name, not_configured(name)) for name in missing]
        return [
            Notice(server=name, message=text) for name, text in sorted([*absent, *removed]) if text
        ]

    def retry_now(self) -> None:
        """Try all servers that failed again."""
        for server in self.servers:
            server.retry_now()

    async def _read_lists(self, choice: ToolChoice) -> Sequence[ToolList]:
        """Return the list of each server, after waiting for the chosen ones that were never listed."""
        awaited = [
            server for server in self.servers if not server.is_listed and _is_chosen(server, choice)
        ]
        if awaited:
            async with anyio.create_task_group() as group:
                for server in awaited:
                    group.start_soon(server.tools)
        return [server.known_tools() for server in self.servers]

    def _merge(self, own: ToolRegistry, lists: Sequence[ToolList]) -> ToolRegistry:
        """Return all tools. One of the operator's configuration comes before another of its name."""
        taken = {tool.name for tool in own.tools}
        offered = [
            server_tool(server, tool, find=self.find)
            for server, listed in zip(self.servers, lists, strict=True)
            for tool in listed.tools
            if tool.offered_name not in taken
        ]
        notices = frozenset(notice for listed in lists for notice in listed.notices)
        for notice in sorted(notices - self._noticed):
            _log.warning("mcp.notice", notice=notice)
        self._noticed = notices
        return ToolRegistry([*own.tools, *offered], own.permissions)


def _is_chosen(server: McpServer, choice: ToolChoice) -> bool:
    return choice.allows(ToolKind.MCP, server.config.name, by_default=server.config.default)
