"""Readers of the three sources: the TOML file, systemd's credentials and the environment.

Each fills a source of pydantic-settings, which merges them. A key is placed only by ``Source.add``, which
knows its origin.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic_settings import InitSettingsSource

from chatd.settings.files import read_secret, read_toml
from chatd.settings.keys import (
    ENV_PREFIX,
    env_name,
    find_key,
    is_named,
    known_keys,
    path_length,
    sections,
    suggest,
)
from chatd.settings.report import Origin, Problem, SourceKey
from chatd.settings.service_links import is_service_link
from chatd.settings.settings import Settings
from chatd.settings.types import KeyPath

CONFIG_VARIABLE = "CHATD_CONFIG"
_CREDENTIALS_VARIABLE = "CREDENTIALS_DIRECTORY"
_TEST_PREFIX = f"{ENV_PREFIX}TEST_"
_RESERVED_VARIABLES = frozenset({CONFIG_VARIABLE, "CHATD_URL", "CHATD_TOKEN"})
"""Variables that are no keys. Any other one that begins with ``CHATD_`` must be a key or a service link."""


class Source(InitSettingsSource):
    """Values of one source as nested tables, the origin of each, and the problems with them."""

    def __init__(self) -> None:
        super().__init__(Settings, {})
        self.keys: dict[KeyPath, SourceKey] = {}
        self.problems: list[Problem] = []

    def add(self, path: KeyPath, value: Any, origin: Origin, folder: Path = Path()) -> None:
        """Store the value of a key, or the problem with it. A path stands for the text of the file.

        The file of a secret is looked up relative to ``folder``.
        """
        key = find_key(path)
        if key is None:
            self.reject(path, _unknown_key_reason(path, origin), origin)
            return
        target = (*path[:-1], key.field)
        if target in self.keys:
            self.reject(path, f"{'.'.join(target)} is given twice", origin)
            return
        if target != path or isinstance(value, Path):
            try:
                value = read_secret(folder / str(value))
            except ValueError as error:
                self.reject(path, str(error), origin)
                return
        self.keys[target] = SourceKey(path, origin)
        self.table(target[:-1])[key.field] = value

    def reject(self, path: KeyPath, reason: str, origin: Origin) -> None:
        """Record a problem with a key."""
        self.problems.append(origin.problem(path, reason))

    def table(self, path: KeyPath) -> dict[str, Any]:
        """Return the table at this path, a new one if there is none."""
        table = self.init_kwargs
        for word in path:
            table = table.setdefault(word, {})
        return table


def _unknown_key_reason(path: KeyPath, origin: Origin) -> str:
    if len(path) < path_length(path[0]):
        return f"must be a table: [{'.'.join((path[0], 'NAME')[: path_length(path[0]) - 1])}]"
    close = suggest(path)
    return "unknown key" + (f"; did you mean {origin.spell(close)}?" if close else "")


def read_file(path: Path | None) -> Source:
    """Read the TOML file, if there is one. A file that cannot be read or parsed is one problem."""
    result = Source()
    if path is None:
        return result
    try:
        document = read_toml(path)
    except ValueError as error:
        result.problems.append(Problem(str(path), str(error), "file"))
    else:
        for keys, value in _flatten(document):
            if value == {} and len(keys) < path_length(keys[0]):
                result.table(keys)
            else:
                result.add(keys, value, Origin("file", str(path)), path.parent)
    return result


def _flatten(value: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Yield the keys with their values, and empty tables. A value instead of a table has a short path."""
    is_table = not path or (isinstance(value, dict) and len(path) < path_length(path[0]))
    if not is_table or (path and not value):
        yield path, value
        return
    for word, inner in value.items():
        yield from _flatten(inner, (*path, word))


def read_environment(environ: Mapping[str, str], file: Source) -> Source:
    """Read every ``CHATD_`` variable. An empty one counts as not set.

    A variable cannot spell ``my-model``, so ``MY_MODEL`` means the table of ``file`` that it fits.
    """
    result = Source()
    tables: dict[str, list[KeyPath]] = {}
    for section, named in file.init_kwargs.items():
        for name in sorted(named) if is_named(section) else ():
            tables.setdefault(env_name((section, name)), []).append((section, name))
    for variable, text in sorted(environ.items()):
        is_setting = variable.startswith(ENV_PREFIX) and not variable.startswith(_TEST_PREFIX)
        if not is_setting or variable in _RESERVED_VARIABLES or not text:
            continue
        if is_service_link(variable, text):
            continue
        origin, path = Origin("env", variable), _variable_path(variable)
        fitting = tables.get(variable.rpartition("__")[0], [path[:-1]])
        if len(fitting) > 1:
            names = ", ".join(name for _, name in fitting)
            result.reject(path, f"may mean any of {names}", origin)
        else:
            result.add((*fitting[0], path[-1]), text, origin)
    return result


def _variable_path(variable: str) -> KeyPath:
    """Return the key that a variable spells, in lower case."""
    section, _, rest = variable.removeprefix(ENV_PREFIX).lower().partition("__")
    name, _, field = rest.rpartition("__")
    if name and (is_named(section) or section not in sections()):
        return section, name, field
    return (section, rest) if rest else (section,)


def read_credentials(environ: Mapping[str, str]) -> Source:
    """Read systemd's credentials that are named like a secret key, such as ``database.url``.

    A credential whose name does not begin with a section has another purpose and is ignored.
    """
    result = Source()
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
