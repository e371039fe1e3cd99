"""The configuration that a reload replaces, and the holder that its readers share.

A setting is reloadable exactly when it is a part of ``RuntimeConfig``: the settings mark these keys
``Reloadable``, and a test changes each key of the settings to see that the two agree. A reload builds a
new ``RuntimeConfig`` and assigns it once, between two turns of the event loop, so no reader sees half of
it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from chatd.api.config import ApiConfig
from chatd.api.request.limits import RequestLimits
from chatd.daemon.tools import mcp_servers_from_settings, tools_from_settings
from chatd.domain.tool_choice import ToolKind
from chatd.llm.catalog import Catalog
from chatd.settings import Settings
from chatd.settings.keywords import keywords_for
from chatd.store.limits import ChatLimits
from chatd.tools.http.client import ToolHttpClient
from chatd.tools.mcp.config import McpServerConfig
from chatd.tools.registry import ToolRegistry
from chatd.worker.config import TurnConfig
from chatd.worker.retry import RetryPolicy
from chatd.worker.turn_limits import AgentLimits, ToolLimits, TurnLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeConfig:
    """Configuration that SIGHUP replaces as a whole."""

    catalog: Catalog
    turn: TurnConfig
    max_chats: int
    api: ApiConfig
    chat_limits: ChatLimits
    log_level: Literal["debug", "info", "warning", "error"]
    log_format: Literal["auto", "json", "console"]
    loop_blocked_seconds: float
    mcp: Sequence[McpServerConfig]
    tool_client: ToolHttpClient
    """Connections of the tools. No reload replaces them."""

    @classmethod
    def from_settings(
        cls, settings: Settings, catalog: Catalog, tool_client: ToolHttpClient
    ) -> "RuntimeConfig":
        """Return the reloadable part of ``settings``; ``catalog`` has the providers and models of it."""
        tools = tools_from_settings(settings, tool_client)
        return cls(
            catalog=catalog,
            turn=_turn_config(settings, catalog, tools),
            tool_client=tool_client,
            mcp=mcp_servers_from_settings(settings),
            max_chats=settings.worker.max_chats,
            api=_api_config(settings, catalog, tools),
            chat_limits=ChatLimits(
                **keywords_for(ChatLimits, settings.worker, settings.limits, settings.agents)
            ),
            log_level=settings.log.level,
            log_format=settings.log.format,
            loop_blocked_seconds=settings.log.loop_blocked_seconds,
        )


class RuntimeConfigHolder:
    """The configuration in force. Consumers get one of the methods and call it at each turn or request."""

    def __init__(self, config: RuntimeConfig) -> None:
        self.current = config
        self._listeners: list[Callable[[RuntimeConfig], None]] = []

    def replace(self, config: RuntimeConfig) -> None:
        """Put ``config`` in force, then call the listeners."""
        self.current = config
        for listener in self._listeners:
            listener(config)

    def on_replace(self, listener: Callable[[RuntimeConfig], None]) -> None:
        """Have ``listener`` called after each replacement."""
        self._listeners.append(listener)

    def turn(self) -> TurnConfig:
        return self.current.turn

    def max_chats(self) -> int:
        return self.current.max_chats

    def models(self) -> tuple[UUID, ...]:
        return tuple(model.id for model in self.current.catalog.models)

    def api(self) -> ApiConfig:
        return self.current.api

    def max_streams_per_owner(self) -> int:
        return self.current.api.max_streams_per_owner

    def chat_limits(self) -> ChatLimits:
        return self.current.chat_limits

    def loop_blocked_seconds(self) -> float:
        return self.current.loop_blocked_seconds


def _turn_config(settings: Settings, catalog: Catalog, tools: ToolRegistry) -> TurnConfig:
    turn = settings.turn
    return TurnConfig(
        catalog=catalog,
        tools=tools,
        tool_limits=ToolLimits(**keywords_for(ToolLimits, settings.tools)),
        agents=AgentLimits(**keywords_for(AgentLimits, settings.agents)),
        limits=TurnLimits(**keywords_for(TurnLimits, turn)),
        retry=RetryPolicy(**keywords_for(RetryPolicy, turn)),
    )


def _api_config(settings: Settings, catalog: Catalog, tools: ToolRegistry) -> ApiConfig:
    limits = settings.limits
    return ApiConfig(
        catalog=catalog,
        tools=tools,
        request=RequestLimits(
            server_tools={
                ToolKind.HTTP: frozenset(settings.http_tools),
                ToolKind.MCP: frozenset(settings.mcp),
                ToolKind.BUILTIN: settings.builtin_tools,
            },
            **keywords_for(RequestLimits, limits, settings.turn),
        ),
        max_requests_per_owner=limits.max_requests,
        max_streams_per_owner=limits.max_streams,
        max_searches_per_owner=limits.max_searches,
        keepalive_seconds=settings.http.sse_keepalive_seconds,
        **keywords_for(ApiConfig, limits, settings.http, settings.log),
    )
