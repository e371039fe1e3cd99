"""Reports on a configuration: all problems with their places, and all values with their origins."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import SecretStr

from chatd.domain.errors import ChatdError
from chatd.domain.sanitize import REDACTED, sanitize_error_text, visible
from chatd.settings.keys import env_name, setting_values
from chatd.settings.secrets import redact_url
from chatd.settings.settings import Settings
from chatd.settings.types import KeyPath

_MAX_KEY_LENGTH = 4096
"""Characters of a key or a file's path that a line shows, as many as a path may have on Linux."""
_MAX_LINES = 100
"""Problems in the text of an error, as many as a person reads."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in the configuration. ``key`` is spelt as in its source, so that a search finds it."""

    key: str
    reason: str
    source: str

    @property
    def text(self) -> str:
        """The problem in one line, with marks for the characters that a terminal would obey."""
        key = self.key if len(self.key) <= _MAX_KEY_LENGTH else f"{self.key[:_MAX_KEY_LENGTH]}…"
        return visible(f"{key}: {self.reason} ({self.source})")


@dataclass(frozen=True, slots=True)
class Origin:
    """Source of a value: its kind, and the file or variable."""

    kind: Literal["default", "file", "env", "credential"]
    where: str = ""

    @property
    def text(self) -> str:
        """The kind and the place in one line."""
        return f"{self.kind} {self.where}".strip()

    def spell(self, path: KeyPath) -> str:
        """Return a key as this source spells it."""
        return env_name(path) if self.kind == "env" else ".".join(path)

    def problem(self, path: KeyPath, reason: str) -> Problem:
        """Return a problem with the key that this source gives."""
        if self.kind == "env":
            return Problem(self.where, reason, "environment")
        return Problem(".".join(path), reason, self.text)


class SourceKey(NamedTuple):
    """Key as its source spells it, which may be ``<key>_file``, and the source."""

    path: KeyPath
    origin: Origin


class ConfigurationError(ChatdError):
    """Unusable configuration, with every problem that was found."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        lines = [problem.text for problem in self.problems[:_MAX_LINES]]
        if more := len(self.problems) - len(lines):
            lines.append(f"{more} more problems")
        super().__init__("\n".join(lines))


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """Settings, the file they were read from, and the origin of each key that is set."""

    settings: Settings
    file: Path | None
    origins: Mapping[KeyPath, Origin]

    def origin(self, path: KeyPath) -> Origin:
        """Return the origin of a key."""
        return self.origins.get(path, Origin("default"))


@dataclass(frozen=True, slots=True)
class ShownSetting:
    """One key, its value as JSON without secrets, and the origin of the value."""

    key: str
    value: Any
    origin: Origin


def shown_settings(loaded: LoadedSettings) -> list[ShownSetting]:
    """List all keys in the order of the models. A section of named tables has them once per name."""
    return [
        ShownSetting(".".join(path), _json_value(path, value), loaded.origin(path))
        for path, value in setting_values(loaded.settings)
    ]


def _json_value(path: KeyPath, value: Any) -> Any:
    match value:
        case SecretStr() if path[0] == "database":
            return redact_url(value.get_secret_value())
        case SecretStr():
            return REDACTED
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
