"""Loading: merge the sources, validate the result, and record the origin of each value."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from chatd.domain.sanitize import sanitize_error_text
from chatd.settings.keys import known_keys, path_length
from chatd.settings.report import ConfigurationError, LoadedSettings, Problem, SourceKey
from chatd.settings.settings import Settings
from chatd.settings.sources import CONFIG_VARIABLE, read_credentials, read_environment, read_file
from chatd.settings.types import KeyPath

_DEFAULT_FILE = Path("/etc/chatd/config.toml")
_MAX_VALUE_LENGTH = 80
"""Characters of an invalid value that an error shows."""


def load(config: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings.

    ``config`` is the file named on the command line. ``environ`` defaults to the environment of
    the process. Raises ``ConfigurationError`` with every problem.
    """
    return load_with_origins(config, environ).settings


def load_with_origins(
    config: Path | None = None, environ: Mapping[str, str] | None = None
) -> LoadedSettings:
    """Read the settings like ``load``, and return the origin of each value too."""
    environ = os.environ if environ is None else environ
    path = config_path(config, environ)
    file = read_file(path)
    weakest_first = (file, read_credentials(environ), read_environment(environ, file))
    keys = {key: each for source in weakest_first for key, each in source.keys.items()}
    problems = [problem for source in weakest_first for problem in source.problems]
    try:
        settings = Settings(_build_sources=(weakest_first[::-1], {}))
    except ValidationError as error:
        for details in error.errors(include_url=False):
            problems += _problems(details, keys)
    if problems:
        raise ConfigurationError(problems)
    return LoadedSettings(settings, path, {key: each.origin for key, each in keys.items()})


def config_path(
    config: Path | None = None, environ: Mapping[str, str] | None = None
) -> Path | None:
    """Return the file that ``load_with_origins`` reads, whether it is readable or not."""
    environ = os.environ if environ is None else environ
    if config is not None:
        return config
    if named := environ.get(CONFIG_VARIABLE):
        return Path(named)
    return _DEFAULT_FILE if _exists(_DEFAULT_FILE) else None


def _exists(path: Path) -> bool:
    """Return whether the file exists. An inaccessible one counts, so that reading it reports why."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def _problems(error: ErrorDetails, keys: Mapping[KeyPath, SourceKey]) -> Iterator[Problem]:
    """Translate an error of pydantic: the key, its place, and the value unless it is a secret."""
    location = tuple(str(word) for word in error["loc"] if word != "[key]")
    if error["type"] == "rules":
        for path, reason in error["ctx"]["violations"]:
            yield _problem((*location, *path), reason, keys)
        return
    length = path_length(location[0])
    path, inside = location[:length], location[length:]
    reason = error["msg"].removeprefix("Input ").removeprefix("Value error, ")
    reason = reason.replace("should ", "must ").replace("Field required", "is required")
    if inside:
        reason = f"{'.'.join(inside)} {reason}"
    key = known_keys().get((path[0], path[-1]))
    if key is not None and not key.secret and path in keys:
        reason += f", got {sanitize_error_text(repr(error['input']))[:_MAX_VALUE_LENGTH]}"
    yield _problem(path, reason, keys)


def _problem(path: KeyPath, reason: str, keys: Mapping[KeyPath, SourceKey]) -> Problem:
    """Return a problem with the origin of the key, or of the first key in the table."""
    if path in keys:
        return keys[path].origin.problem(keys[path].path, reason)
    for key_path, (_, origin) in keys.items():
        if key_path[: len(path)] == path:
            return origin.problem(path, reason)
    key = known_keys().get((path[0], path[-1]))
    has_default = key and not key.info.is_required() and key.default is not None
    return Problem(".".join(path), reason, "default" if has_default else "not set")
