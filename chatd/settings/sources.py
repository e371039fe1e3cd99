"""The three readers: the TOML file, systemd's credentials, and the environment."""

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from chatd.settings.keys import ENV_PREFIX, env_name, known_keys, sections, suggest_section
from chatd.settings.problems import Problem
from chatd.settings.settings import KeyPath
from chatd.settings.source_values import Origin, SourceValues, read_secret_file

CONFIG_VARIABLE = "CHATD_CONFIG"
_CREDENTIALS_VARIABLE = "CREDENTIALS_DIRECTORY"
_TEST_PREFIX = f"{ENV_PREFIX}TEST_"
_RESERVED_VARIABLES = frozenset({CONFIG_VARIABLE, "CHATD_URL", "CHATD_TOKEN"})
"""Where the file is, and what callers are told; every other ``CHATD_`` variable must be a key."""


def read_file(path: Path) -> SourceValues:
    """The TOML file. A file that cannot be read or parsed is one problem, not an exception."""
    layer, origin = SourceValues(), Origin("file", str(path))
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        layer.problems.append(Problem(str(path), error.strerror or "cannot be read", "file"))
    except ValueError as error:
        layer.problems.append(Problem(str(path), f"not valid TOML: {error}", "file"))
    else:
        for section, table in tables.items():
            for keys, value in _section_entries(layer, section, table, origin):
                layer.add(keys, value, origin, folder=path.parent)
    return layer


def _section_entries(
    source_values: SourceValues, section: str, table: Any, origin: Origin
) -> Iterable[tuple[KeyPath, Any]]:
    """The keys of one section with their values; a shape that does not fit is a problem."""
    if section not in sections():
        source_values.add((section,), table, origin)
    elif not isinstance(table, dict):
        source_values.add_problem((section,), f"must be a table: [{section}]", origin)
    elif not sections()[section][1]:
        yield from (((section, key), value) for key, value in table.items())
    else:
        for name, inner in table.items():
            if not isinstance(inner, dict):
                source_values.add_problem(
                    (section, name), f"must be a table: [{section}.NAME]", origin
                )
                continue
            source_values.table_names.append((section, name))
            yield from (((section, name, key), value) for key, value in inner.items())


def read_environment(
    environ: Mapping[str, str], table_names: Iterable[tuple[str, str]] = ()
) -> SourceValues:
    """Every ``CHATD_`` variable. ``table_names`` are the tables of the file, which a variable may extend.

    A variable cannot spell ``my-model``, so ``MY_MODEL`` means the name of the file it fits.
    """
    layer = SourceValues()
    spellings: dict[str, list[str]] = {}
    for section, name in sorted(table_names):
        spellings.setdefault(env_name((section, name)), []).append(name)
    for variable, text in sorted(environ.items()):
        ours = variable.startswith(ENV_PREFIX) and not variable.startswith(_TEST_PREFIX)
        if not ours or variable in _RESERVED_VARIABLES or not text:
            continue
        origin = Origin("env", variable)
        table, path = _split_variable(variable)
        match spellings.get(table, []):
            case [name]:
                layer.add((path[0], name, path[-1]), text, origin)
            case [_, *_] as several:
                layer.add_problem(path, f"may mean any of {', '.join(several)}", origin)
            case _:
                layer.add(path, text, origin)
    return layer


def _split_variable(variable: str) -> tuple[str, KeyPath]:
    """What a variable spells: the part that names a table, and the key in lower case.

    A misspelt section is split like the one that was probably meant, for the sake of the hint.
    """
    head, _, rest = variable.removeprefix(ENV_PREFIX).partition("__")
    section = head.lower()
    if not rest:
        return variable, (section,)
    meant = suggest_section(section)
    if meant is None or not sections()[meant][1]:
        return variable, (section, rest.lower())
    name, _, key = rest.rpartition("__")
    return variable.rpartition("__")[0], (section, name.lower(), key.lower())


def read_credentials(environ: Mapping[str, str]) -> SourceValues:
    """systemd's credentials that are named like a secret of the tree, such as ``create.url``.

    Others may stand beside them for other purposes and are left alone, unless the name begins like
    one of ours: then it is a misspelling.
    """
    layer = SourceValues()
    folder = environ.get(_CREDENTIALS_VARIABLE)
    for file in sorted(Path(folder).glob("*.*")) if folder else ():
        section, _, rest = file.name.partition(".")
        if section not in sections():
            continue
        name, _, key = rest.rpartition(".")
        _add_credential(layer, (section, name, key) if name else (section, key), file)
    return layer


def _add_credential(source_values: SourceValues, path: KeyPath, file: Path) -> None:
    origin = Origin("credential", str(file))
    key = known_keys().get((path[0], path[-1]))
    if key is not None and not key.secret:
        source_values.add_problem(path, "is not a secret, so it cannot be a credential", origin)
        return
    try:
        text = read_secret_file(file)
    except OSError as error:
        source_values.add_problem(path, f"cannot read it: {error.strerror}", origin)
    except ValueError as error:
        source_values.add_problem(path, str(error), origin)
    else:
        source_values.add(path, text, origin)
