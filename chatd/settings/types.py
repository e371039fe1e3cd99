"""Base class and field types of the settings models."""

import ipaddress
import json
import re
from collections.abc import Iterable
from pathlib import PurePath
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    SecretStr,
    StringConstraints,
)
from pydantic_core import PydanticCustomError

T = TypeVar("T")

KeyPath = tuple[str, ...]
"""``(section, key)``, or ``(section, name, key)`` in a section of named tables."""

RELOADABLE = object()
Reloadable = Annotated[T, RELOADABLE]
"""Type of a key or section that SIGHUP reloads. All others need a restart."""

NonEmptyText = Annotated[str, StringConstraints(min_length=1)]

STRICT = ConfigDict(
    extra="forbid",
    frozen=True,
    allow_inf_nan=False,
    hide_input_in_errors=True,
    validate_default=True,
    use_attribute_docstrings=True,
)
"""Configuration of all settings models: unknown keys are errors, and no error holds a secret."""

_IPV6_LITERAL = re.compile(r"^\[[^]]*\]")
_ORIGIN = re.compile(r"https?://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:\d{1,5})?")
_PORT_LIMIT = 65536
_TABLE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""Names that fit a TOML key, a variable and a file name."""


class Section(BaseModel):
    """Base class of a table of settings."""

    model_config = STRICT


def check_rules(violations: Iterable[tuple[KeyPath, str]]) -> None:
    """Raise one error for all violations, each the key relative to the model and the reason."""
    if listed := list(violations):
        text = "; ".join(f"{'.'.join(path)}: {reason}" for path, reason in listed)
        raise PydanticCustomError("rules", "{text}", {"text": text, "violations": listed})


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _check_database_url(url: SecretStr) -> SecretStr:
    if reason := _database_url_problem(url.get_secret_value()):
        raise ValueError(f"{reason} (its value is not shown)")
    return url


def _database_url_problem(url: str) -> str | None:
    if not url.startswith(("postgresql://", "postgres://")):
        return "must begin with postgresql://"
    try:
        hosts = urlsplit(url).netloc.rpartition("@")[2]
    except ValueError:
        return "is not a URL"
    ports = (_IPV6_LITERAL.sub("", host).partition(":")[2] for host in hosts.split(","))
    wrong = any(port and not (port.isdecimal() and int(port) < _PORT_LIMIT) for port in ports)
    return f"a port must be a number below {_PORT_LIMIT}" if wrong else None


def _parse_json(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        reason = "must be a list or a table (as JSON, where there is only text)"
        raise ValueError(reason) from None


def _check_table_name(name: str) -> str:
    if not _TABLE_NAME.fullmatch(name):
        raise ValueError("a name is made of letters, digits, dots, dashes and underscores")
    return name


def _check_jwks_source(source: str) -> str:
    url = urlsplit(source)
    host = url.hostname or ""
    trusted = PurePath(source).is_absolute()
    if url.scheme in {"http", "https"}:
        trusted = bool(host) and (url.scheme == "https" or is_loopback(host))
    if not trusted:
        raise ValueError(
            "must be an https:// URL or an absolute path (http:// only on loopback: an attacker on "
            "the network could replace the keys)"
        )
    return source


def _check_origins(origins: list[str]) -> list[str]:
    for origin in origins:
        if not _ORIGIN.fullmatch(origin):
            raise ValueError(
                f"{origin!r} is not an origin: it must look like https://app.example.com, without a path"
            )
    return origins


DatabaseUrl = Annotated[SecretStr, AfterValidator(_check_database_url)]
JwksSource = Annotated[str, AfterValidator(_check_jwks_source)]
MaybeJson = Annotated[T, BeforeValidator(_parse_json)]
"""List or table that is JSON in a variable and in the file of a secret, which hold only text."""
TableName = Annotated[str, AfterValidator(_check_table_name)]
CorsOrigins = Annotated[MaybeJson[list[str]], AfterValidator(_check_origins)]
