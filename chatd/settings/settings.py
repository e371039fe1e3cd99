"""The root of the tree, and the rules between keys."""

import ipaddress
import re
from collections.abc import Iterator
from pathlib import PurePath
from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from chatd.llm.vendors import PROVIDER_KINDS
from chatd.settings.models import ModelSettings, ProviderSettings
from chatd.settings.sections import (
    AuthSettings,
    DatabaseSettings,
    HttpSettings,
    LimitSettings,
    LogSettings,
    MetricsSettings,
    Reloadable,
    StreamSettings,
    TurnSettings,
    WorkerSettings,
)

_MIN_RENEWALS_PER_LEASE = 3
"""How many renewals must fit into a lease: one may be lost, and one late, without losing chats."""

KeyPath = tuple[str, ...]
"""``(section, key)``, or ``(section, name, key)`` in a section of named tables."""

RuleViolations = Iterator[tuple[KeyPath, str]]
"""The rules that do not hold: the key to change, and why."""


class Settings(BaseSettings):
    """All settings. ``Settings()`` is the defaults: ``load`` hands in the sources it has read."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
        validate_default=True,
    )

    database: DatabaseSettings = Field(default_factory=DatabaseSettings)
    http: HttpSettings = Field(default_factory=HttpSettings)
    auth: AuthSettings = Field(default_factory=AuthSettings)
    limits: Reloadable[LimitSettings] = Field(default_factory=LimitSettings)
    worker: WorkerSettings = Field(default_factory=WorkerSettings)
    turn: Reloadable[TurnSettings] = Field(default_factory=TurnSettings)
    stream: StreamSettings = Field(default_factory=StreamSettings)
    metrics: MetricsSettings = Field(default_factory=MetricsSettings)
    log: Reloadable[LogSettings] = Field(default_factory=LogSettings)
    providers: Reloadable[dict[str, ProviderSettings]] = Field(default_factory=dict)
    models: Reloadable[dict[str, ModelSettings]] = Field(default_factory=dict)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature of pydantic-settings
        init_settings: PydanticBaseSettingsSource,
        *_: PydanticBaseSettingsSource,
        **_others: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Nothing but what is handed in: the usual sources do not see a misspelt variable."""
        return (init_settings,)

    @model_validator(mode="after")
    def _check_rules(self) -> Self:
        broken = [
            *_database_violations(self.database),
            *_auth_violations(self.auth, self.http),
            *_cors_origin_violations(self.http),
            *_duration_violations(self.worker, self.turn),
            *_provider_violations(self.providers),
            *_model_violations(self.models, self.providers),
        ]
        if broken:
            text = "; ".join(f"{'.'.join(path)}: {reason}" for path, reason in broken)
            raise PydanticCustomError("rules", "{text}", {"text": text, "broken": broken})
        return self


def _database_violations(database: DatabaseSettings) -> RuleViolations:
    for name in ("url", "direct_url"):
        url: SecretStr | None = getattr(database, name)
        reason = url and _database_url_problem(url.get_secret_value())
        if reason:
            yield ("database", name), f"{reason} (its value is not shown)"


def _database_url_problem(url: str) -> str | None:
    """Why nothing can be reached by this URL."""
    if not url.startswith(("postgresql://", "postgres://")):
        return "must begin with postgresql://"
    try:
        hosts = urlsplit(url).netloc.rpartition("@")[2]
    except ValueError:
        return "is not a URL"
    ports = (_IPV6_LITERAL.sub("", host).partition(":")[2] for host in hosts.split(","))
    wrong = any(port and not (port.isdecimal() and int(port) < _PORT_LIMIT) for port in ports)
    return f"a port must be a number below {_PORT_LIMIT}" if wrong else None


_IPV6_LITERAL = re.compile(r"^\[[^]]*\]")
_PORT_LIMIT = 65536


def _auth_violations(auth: AuthSettings, http: HttpSettings) -> RuleViolations:
    if auth.mode == "none" and not is_loopback(http.host):
        yield (
            ("http", "host"),
            (
                f'without authentication (auth.mode = "none") it must be a loopback address '
                f"(127.0.0.1, ::1 or localhost), not {http.host!r}: "
                "anyone who reaches the port could read every chat. "
                'Set auth.mode to "token" (then: chatd token create --owner NAME) or to "jwt"'
            ),
        )
    if auth.mode == "jwt":
        for name in ("jwks", "issuer", "audience"):
            if getattr(auth, name) is None:
                yield ("auth", name), 'is required when auth.mode is "jwt"'
    if auth.jwks is not None and not _is_trusted_source(auth.jwks):
        yield (
            ("auth", "jwks"),
            (
                "must be an https:// URL or an absolute path (http:// only on loopback: "
                "anyone in between could pass for anybody)"
            ),
        )


_ORIGIN_PATTERN = re.compile(r"https?://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:\d{1,5})?")


def _cors_origin_violations(http: HttpSettings) -> RuleViolations:
    for origin in http.cors_origins:
        if not _ORIGIN_PATTERN.fullmatch(origin):
            yield (
                ("http", "cors_origins"),
                f"{origin!r} is not an origin: it must look like https://app.example.com, without a path",
            )


def _is_trusted_source(source: str) -> bool:
    """Whether a key set that is read from there is the provider's own."""
    url = urlsplit(source)
    if url.scheme in {"http", "https"}:
        host = url.hostname or ""
        return bool(host) and (url.scheme == "https" or is_loopback(host))
    return PurePath(source).is_absolute()


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _duration_violations(worker: WorkerSettings, turn: TurnSettings) -> RuleViolations:
    least = _MIN_RENEWALS_PER_LEASE * worker.heartbeat_seconds
    if worker.lease_seconds < least:
        yield (
            ("worker", "lease_seconds"),
            (
                f"must be at least {_MIN_RENEWALS_PER_LEASE} times worker.heartbeat_seconds ({least:g}), "
                f"got {worker.lease_seconds:g}: one late renewal would lose chats"
            ),
        )
    if turn.backoff_max_seconds < turn.backoff_seconds:
        yield (
            ("turn", "backoff_max_seconds"),
            (
                f"must not be less than turn.backoff_seconds ({turn.backoff_seconds:g}), "
                f"got {turn.backoff_max_seconds:g}"
            ),
        )


def _provider_violations(providers: dict[str, ProviderSettings]) -> RuleViolations:
    for name, provider in providers.items():
        for key, reason in PROVIDER_KINDS[provider.kind].violations(
            base_url=provider.base_url,
            api_key=provider.api_key,
            script=provider.script,
            scripts=provider.scripts,
        ):
            yield ("providers", name, key), reason


def _model_violations(
    models: dict[str, ModelSettings], providers: dict[str, ProviderSettings]
) -> RuleViolations:
    for name, model in models.items():
        if model.provider not in providers:
            known = ", ".join(sorted(providers)) or "none"
            yield (
                ("models", name, "provider"),
                f"there is no provider {model.provider!r}; configured: {known}",
            )
    marked = [name for name, model in models.items() if model.default]
    if len(models) > 1 and not marked:
        yield ("models",), f"set default = true for one of {', '.join(models)}"
    for name in marked[1:]:
        yield (
            ("models", name, "default"),
            f"models.{marked[0]} is the default already; only one can be",
        )
