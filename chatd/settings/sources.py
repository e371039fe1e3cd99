"""Readers of the three sources: the TOML file, systemd's credentials and the environment."""

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chatd.settings.keys import (
    ENV_PREFIX,
    NAMED_LENGTH,
    Key,
    env_name,
    find_key,
    known_keys,
    path_length,
    suggest,
    suggest_section,
)
from chatd.settings.report import Origin, Problem
from chatd.settings.types import KeyPath

CONFIG_VARIABLE = "CHATD_CONFIG"
_CREDENTIALS_VARIABLE = "CREDENTIALS_DIRECTORY"
_TEST_PREFIX = f"{ENV_PREFIX}TEST_"
_RESERVED_VARIABLES = frozenset({CONFIG_VARIABLE, "CHATD_URL", "CHATD_TOKEN"})
"""Variables that are no keys. Any other one that begins with ``CHATD_`` must be a key."""

_TABLE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""Names that fit a TOML key, a variable and a file name."""


@dataclass(slots=True)
class SourceValues:
    """Values of one source by key, their origins, and the problems found while reading them."""

    values: dict[KeyPath, Any] = field(default_factory=dict)
    origins: dict[KeyPath, Origin] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    table_names: list[tuple[str, str]] = field(default_factory=list)
    """The (section, name) of every named table in the order of the file, empty ones included."""

    def add(self, path: KeyPath, value: Any, origin: Origin, *, folder: Path = Path()) -> None:
        """Store the value of a key, or the problem with it. A path stands for the text of the file."""
        key = find_key(path)
        if key is None:
            self.reject(path, _unknown_key_reason(path, origin), origin)
            return
        target = key.path(path[1] if key.named else None)
        if target in self.values:
            self.reject(path, f"{'.'.join(target)} is given twice", origin)
            return
        try:
            self.values[target] = _resolve(key, path, value, folder)
            self.origins[target] = origin
        except ValueError as error:
            self.reject(path, str(error), origin)

    def reject(self, path: KeyPath, reason: str, origin: Origin) -> None:
        """Record a problem with a key."""
        self.problems.append(origin.problem(path, reason))

    def tables(self) -> dict[str, Any]:
        """Return the values as nested tables."""
        root: dict[str, Any] = {}
        for section, name in self.table_names:
            root.setdefault(section, {}).setdefault(name, {})
        for path, value in self.values.items():
            table = root
            for word in path[:-1]:
                table = table.setdefault(word, {})
            table[path[-1]] = value
        return root


def _resolve(key: Key, path: KeyPath, value: Any, folder: Path) -> Any:
    """Return the value that a source gives, after reading files and JSON."""
    if key.named and not _TABLE_NAME.fullmatch(path[1]):
        raise ValueError("a name is made of letters, digits, dots, dashes and underscores")
    if isinstance(value, Path):
        value = _read_secret(value)
    if path[-1] != key.field:
        value = _read_secret(folder / str(value))
    if key.structured and isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            raise ValueError(
                "must be a list or a table (as JSON, where there is only text)"
            ) from None
    return value


def _read_secret(path: Path) -> str:
    """Return the text of a secret's file, without the newline that editors add."""
    try:
        text = path.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeError:
        raise ValueError(f"{path} is not text") from None
    if not text:
        raise ValueError(f"{path} is empty")
    return text


def _unknown_key_reason(path: KeyPath, origin: Origin) -> str:
    section, length = path[0], path_length(path[0])
    if len(path) < length:
        name = ".NAME" if length == NAMED_LENGTH else ""
        return f"must be a table: [{section}{name}]"
    close = suggest(path)
    return "unknown key" + (f"; did you mean {origin.spell(close)}?" if close else "")


def read_file(path: Path) -> SourceValues:
    """Read the TOML file. A file that cannot be read or parsed is one problem."""
    result, origin = SourceValues(), Origin("file", str(path))
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        result.problems.append(Problem(str(path), error.strerror or "cannot be read", "file"))
    except ValueError as error:
        result.problems.append(Problem(str(path), f"not valid TOML: {error}", "file"))
    else:
        for keys, value in _flatten(document):
            result.add(keys, value, origin, folder=path.parent)
        result.table_names = [
            (section, name)
            for section, table in document.items()
            if path_length(section) == NAMED_LENGTH and isinstance(table, dict)
            for name, inner in table.items()
            if isinstance(inner, dict)
        ]
    return result


def _flatten(value: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Yield the keys with their values. The path is shorter if a value stands in place of a table."""
    if path and (len(path) == path_length(path[0]) or not isinstance(value, dict)):
        yield path, value
        return
    for word, inner in value.items():
        yield from _flatten(inner, (*path, word))


def read_environment(
    environ: Mapping[str, str], table_names: Iterable[tuple[str, str]] = ()
) -> SourceValues:
    """Read every ``CHATD_`` variable. An empty one counts as not set.

    ``table_names`` are the named tables of the file. A variable cannot spell ``my-model``, so
    ``MY_MODEL`` means the table that it fits.
    """
    result = SourceValues()
    names: dict[str, list[str]] = {}
    for section, name in sorted(table_names):
        names.setdefault(env_name((section, name)), []).append(name)
    for variable, text in sorted(environ.items()):
        is_setting = variable.startswith(ENV_PREFIX) and not variable.startswith(_TEST_PREFIX)
        if not is_setting or variable in _RESERVED_VARIABLES or not text:
            continue
        origin, path = Origin("env", variable), _variable_path(variable)
        fitting = names.get(variable.rpartition("__")[0], [])
        if len(fitting) > 1:
            result.reject(path, f"may mean any of {', '.join(fitting)}", origin)
        else:
            result.add((path[0], *fitting, path[-1]) if fitting else path, text, origin)
    return result


def _variable_path(variable: str) -> KeyPath:
    """Return the key that a variable spells, in lower case.

    The section with the most similar name decides whether the variable names a table, so that a
    misspelt section gets a suggestion for the whole key.
    """
    section, _, rest = variable.removeprefix(ENV_PREFIX).lower().partition("__")
    if not rest:
        return (section,)
    if path_length(suggest_section(section)) != NAMED_LENGTH:
        return section, rest
    name, _, key = rest.rpartition("__")
    return section, name, key


def read_credentials(environ: Mapping[str, str]) -> SourceValues:
    """Read systemd's credentials that are named like a secret key, such as ``database.url``.

    A credential whose name does not begin with a section has another purpose and is ignored.
    """
    result = SourceValues()
    folder = environ.get(_CREDENTIALS_VARIABLE)
    for file in sorted(Path(folder).glob("*.*")) if folder else ():
        section, _, rest = file.name.partition(".")
        if path_length(section) == 1:
            continue
        path = (section, *rest.rsplit(".", 1))
        origin = Origin("credential", str(file))
        key = known_keys().get((section, path[-1]))
        if key is not None and not key.secret:
            result.reject(path, "is not a secret, so it cannot be a credential", origin)
        else:
            result.add(path, file, origin)
    return result
