"""Every key with its value and its origin, and no secret: what ``config show`` prints."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, SecretStr

from chatd.domain.sanitize import REDACTED, sanitize_error_text
from chatd.settings.keys import known_keys, sections
from chatd.settings.load import LoadedSettings
from chatd.settings.settings import KeyPath
from chatd.settings.source_values import Origin


@dataclass(frozen=True, slots=True)
class ShownSetting:
    """One key, its value fit for JSON, and where the value came from."""

    key: str
    value: Any
    origin: Origin


def shown_settings(loaded: LoadedSettings) -> list[ShownSetting]:
    """All keys in the order of the tree; a section of named tables has them once for each name."""
    return [
        ShownSetting(".".join(path), _json_value(path, value), loaded.origin(path))
        for path, value in _setting_values(loaded)
    ]


def _setting_values(loaded: LoadedSettings) -> Iterator[tuple[KeyPath, Any]]:
    for section, (_, named) in sections().items():
        table = getattr(loaded.settings, section)
        tables: Mapping[str | None, BaseModel] = table if named else {None: table}
        for name, inner in tables.items():
            for key in known_keys().values():
                if key.section == section:
                    yield key.path(name), getattr(inner, key.field)


def _json_value(path: KeyPath, value: Any) -> Any:
    match value:
        case SecretStr() if path[0] == "database":
            return redact_url(value.get_secret_value())
        case SecretStr():
            return REDACTED
        case str():
            return sanitize_error_text(value)
        case Mapping():
            return {
                sanitize_error_text(str(key)): _json_value(path, inner)
                for key, inner in value.items()
            }
        case list():
            return [_json_value(path, inner) for inner in value]
        case None | bool() | int() | float():
            return value
        case _:
            return sanitize_error_text(str(value))


def redact_url(url: str) -> str:
    """A database URL without its password, or nothing of it when it is not plainly a URL.

    A password with an unquoted ``/``, ``?`` or ``#`` lands outside the part that holds the login,
    which is why an ``@`` anywhere else hides everything. The query may hold secrets too.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return REDACTED
    if "@" in parts.path + parts.query + parts.fragment:
        return REDACTED
    login, at, host = parts.netloc.rpartition("@")
    user, colon, _ = login.partition(":")
    password = f":{REDACTED}" if colon else ""
    query = f"?{REDACTED}" if parts.query else ""
    return f"{parts.scheme}://{user}{password}{at}{host}{parts.path}{query}"
