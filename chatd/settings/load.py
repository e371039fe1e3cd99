"""Put the sources together, check the whole, and keep where each value came from."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import PydanticBaseSettingsSource

from chatd.domain.sanitize import sanitize_error_text
from chatd.settings.keys import is_required, known_keys, sections
from chatd.settings.problems import ConfigurationError, Problem
from chatd.settings.settings import KeyPath, Settings
from chatd.settings.source_values import Origin, SourcedValue, SourceValues
from chatd.settings.sources import CONFIG_VARIABLE, read_credentials, read_environment, read_file

_DEFAULT_FILE = Path("/etc/chatd/config.toml")
_DEFAULT = Origin("default")
_MAX_VALUE_LENGTH = 80
"""Characters of an offending value that an error shows."""


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """The settings, the file they were read from, and the origin of each key that was given."""

    settings: Settings
    file: Path | None
    origins: Mapping[KeyPath, Origin]

    def origin(self, path: KeyPath) -> Origin:
        return self.origins.get(path, _DEFAULT)


def load(config: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings.

    ``config`` is the file named on the command line; ``environ`` is the process's environment
    unless given. Raises ``ConfigurationError`` with everything that is wrong.
    """
    return load_with_origins(config, environ).settings


def load_with_origins(
    config: Path | None = None, environ: Mapping[str, str] | None = None
) -> LoadedSettings:
    """``load``, and where each value came from."""
    environ = os.environ if environ is None else environ
    path = config_path(config, environ)
    file = read_file(path) if path else SourceValues()
    credentials = read_credentials(environ)
    environment = read_environment(environ, file.table_names)
    layers = (file, credentials, environment)
    found = {key: value for layer in layers for key, value in layer.values.items()}
    problems = [problem for layer in layers for problem in layer.problems]
    try:
        sources = (PydanticSource(environment), PydanticSource(credentials), PydanticSource(file))
        settings = Settings(_build_sources=(sources, {}))
    except ValidationError as error:
        details = error.errors(include_url=False)
        known = [one for detail in details for one in _translate_error(detail, found)]
        raise ConfigurationError([*problems, *known]) from None
    if problems:
        raise ConfigurationError(problems)
    return LoadedSettings(settings, path, {key: value.origin for key, value in found.items()})


def config_path(
    config: Path | None = None, environ: Mapping[str, str] | None = None
) -> Path | None:
    """The file that ``load_with_origins`` reads, whether it can or not."""
    environ = os.environ if environ is None else environ
    if config is not None:
        return config
    if named := environ.get(CONFIG_VARIABLE):
        return Path(named)
    return _DEFAULT_FILE if _exists(_DEFAULT_FILE) else None


def _exists(path: Path) -> bool:
    """A file that may not be looked at counts as there, so that reading it says why not."""
    try:
        return path.exists()
    except PermissionError:
        return True


class PydanticSource(PydanticBaseSettingsSource):
    """A layer, as pydantic-settings wants a source: what it says, as nested tables."""

    def __init__(self, source_values: SourceValues) -> None:
        super().__init__(Settings)
        self._source_values = source_values

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """One section; ``__call__`` hands over all of them at once."""
        return self().get(field_name, field.default), field_name, False

    def __call__(self) -> dict[str, Any]:
        tree: dict[str, Any] = {}
        for section, name in self._source_values.table_names:
            tree.setdefault(section, {}).setdefault(name, {})
        for path, value in self._source_values.values.items():
            table = tree
            for word in path[:-1]:
                table = table.setdefault(word, {})
            table[path[-1]] = value.value
        return tree


def _translate_error(
    error: ErrorDetails, values: Mapping[KeyPath, SourcedValue]
) -> Iterator[Problem]:
    """pydantic's finding in our words: the key, the place, and the value unless it is a secret."""
    if error["type"] == "rules":
        for path, reason in error["ctx"]["broken"]:
            yield _problem_at(path, reason, values)
        return
    location = tuple(str(word) for word in error["loc"])
    named = sections()[location[0]][1]
    path, inside = (location[:3], location[3:]) if named else (location[:2], location[2:])
    reason = (
        error["msg"]
        .removeprefix("Input ")
        .replace("should ", "must ")
        .replace("Field required", "is required")
    )
    if inside:
        reason = f"{'.'.join(inside)} {reason}"
    key = known_keys().get((path[0], path[-1]))
    if key is not None and not key.secret and path in values:
        reason += f", got {sanitize_error_text(repr(values[path].value))[:_MAX_VALUE_LENGTH]}"
    yield _problem_at(path, reason, values)


def _problem_at(path: KeyPath, reason: str, values: Mapping[KeyPath, SourcedValue]) -> Problem:
    layer = SourceValues()
    if path in values:
        layer.add_problem(path, reason, values[path].origin)
        return layer.problems[0]
    return Problem(".".join(path), reason, _unset_source(path))


def _unset_source(path: KeyPath) -> str:
    key = known_keys().get((path[0], path[-1]))
    return "default" if key and not is_required(key) and key.default is not None else "not set"
