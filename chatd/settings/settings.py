"""All sections together, and the rules between sections."""

from collections.abc import Iterator
from typing import Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from chatd.domain.tool_choice import AGENTS, taken_names
from chatd.settings.adapters import AdaptersSettings
from chatd.settings.agents import AgentsSettings
from chatd.settings.console import ConsoleSettings
from chatd.settings.mcp import McpName, McpServerSettings
from chatd.settings.models import ModelSettings, ProviderSettings
from chatd.settings.sections import (
    AuthSettings,
    DatabaseSettings,
    HttpSettings,
    LimitSettings,
    LogSettings,
    MetricsSettings,
    StreamSettings,
    TurnSettings,
    WorkerSettings,
)
from chatd.settings.tools import HttpToolSettings, ToolName, ToolsSettings
from chatd.settings.types import KeyPath, Reloadable, TableName, check_rules, is_loopback


class Settings(BaseSettings, frozen=True, allow_inf_nan=False, hide_input_in_errors=True):
    """Root of the settings. ``Settings()`` has the defaults; ``load`` passes the sources."""

    database: DatabaseSettings = Field(default_factory=DatabaseSettings)
    http: HttpSettings = Field(default_factory=HttpSettings)
    auth: AuthSettings = Field(default_factory=AuthSettings)
    console: ConsoleSettings = Field(default_factory=ConsoleSettings)
    limits: Reloadable[LimitSettings] = Field(default_factory=LimitSettings)
    worker: WorkerSettings = Field(default_factory=WorkerSettings)
    turn: Reloadable[TurnSettings] = Field(default_factory=TurnSettings)
    stream: StreamSettings = Field(default_factory=StreamSettings)
    metrics: MetricsSettings = Field(default_factory=MetricsSettings)
    log: Reloadable[LogSettings] = Field(default_factory=LogSettings)
    providers: Reloadable[dict[TableName, ProviderSettings]] = Field(default_factory=dict)
    models: Reloadable[dict[TableName, ModelSettings]] = Field(default_factory=dict)
    tools: Reloadable[ToolsSettings] = Field(default_factory=ToolsSettings)
    http_tools: Reloadable[dict[ToolName, HttpToolSettings]] = Field(default_factory=dict)
    mcp: Reloadable[dict[McpName, McpServerSettings]] = Field(default_factory=dict)
    agents: Reloadable[AgentsSettings] = Field(default_factory=AgentsSettings)
    adapters: AdaptersSettings = Field(default_factory=AdaptersSettings)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature of pydantic-settings
        init_settings: PydanticBaseSettingsSource,
        *_: PydanticBaseSettingsSource,
        **_others: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the keyword arguments as the only source, so that tests read no environment."""
        return (init_settings,)

    @model_validator(mode="after")
    def _check_rules(self) -> Self:
        check_rules(
            [
                *self._listening_violations(),
                *self._retention_violations(),
                *self._model_violations(),
                *self._tool_violations(),
            ]
        )
        return self

    def _listening_violations(self) -> Iterator[tuple[KeyPath, str]]:
        if self.auth.mode == "none" and not is_loopback(self.http.host):
            reason = (
                f'without authentication (auth.mode = "none") it must be a loopback address '
                f"(127.0.0.1, ::1 or localhost), not {self.http.host!r}: "
                "anyone who reaches the port could read every chat. "
                'Set auth.mode to "token" (then: chatd token create --owner NAME) or to "jwt"'
            )
            yield ("http", "host"), reason

    def _retention_violations(self) -> Iterator[tuple[KeyPath, str]]:
        days, hours = self.stream.event_retention_days, self.http.idempotency_retention_hours
        if days * 24 < hours:
            reason = (
                f"must not be shorter than http.idempotency_retention_hours ({hours:g} hours): "
                "a repeated request is answered from its event"
            )
            yield ("stream", "event_retention_days"), reason

    @property
    def builtin_tools(self) -> frozenset[str]:
        """The built-in tools by which a chat chooses. Those of agents have one name together."""
        return frozenset(self.tools.builtin) | ({AGENTS} if self.agents.enabled else set())

    def _tool_violations(self) -> Iterator[tuple[KeyPath, str]]:
        for name in sorted(taken_names(self.builtin_tools) & self.http_tools.keys()):
            yield ("http_tools", name), "chatd itself has a tool of this name"

    def _model_violations(self) -> Iterator[tuple[KeyPath, str]]:
        for name, model in self.models.items():
            if model.provider not in self.providers:
                known = ", ".join(sorted(self.providers)) or "none"
                reason = f"there is no provider {model.provider!r}; configured: {known}"
                yield ("models", name, "provider"), reason
        marked = [name for name, model in self.models.items() if model.default]
        if len(self.models) > 1 and not marked:
            yield ("models",), f"set default = true for one of {', '.join(self.models)}"
        for name in marked[1:]:
            reason = f"models.{marked[0]} is the default already; only one can be"
            yield ("models", name, "default"), reason
