"""What one source says: values by key, each with its origin, and what is wrong with them."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from chatd.settings.keys import (
    FILE_SUFFIX,
    NAME_PATTERN,
    Key,
    env_name,
    known_keys,
    sections,
    suggest,
)
from chatd.settings.problems import Problem
from chatd.settings.settings import KeyPath


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value came from: the kind of source, and the place in words."""

    kind: Literal["default", "file", "env", "credential"]
    where: str = ""

    @property
    def text(self) -> str:
        return f"{self.kind} {self.where}".strip()


@dataclass(frozen=True, slots=True)
class SourcedValue:
    """One value of one key."""

    value: Any
    origin: Origin


@dataclass(slots=True)
class SourceValues:
    """The findings of one source, collected key by key."""

    values: dict[KeyPath, SourcedValue] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    table_names: list[tuple[str, str]] = field(default_factory=list)
    """The (section, name) of every named table, in the order of the file; also an empty one."""

    def add_problem(self, path: KeyPath, reason: str, origin: Origin) -> None:
        if origin.kind == "env":
            self.problems.append(Problem(origin.where, reason, "environment"))
        else:
            self.problems.append(Problem(".".join(path), reason, origin.text))

    def add(self, path: KeyPath, value: Any, origin: Origin, *, folder: Path = Path()) -> None:
        """Note what a source says for a key, following ``<key>_file`` to the secret itself."""
        key = _find_key(path)
        if key is None:
            self.add_problem(path, _unknown_key_reason(path, origin), origin)
            return
        if key.named and not NAME_PATTERN.fullmatch(path[1]):
            reason = "a name is made of letters, digits, dots, dashes and underscores"
            self.add_problem(path, reason, origin)
            return
        target = key.path(path[1] if key.named else None)
        if target in self.values:
            self.add_problem(path, f"{'.'.join(target)} is given twice", origin)
            return
        try:
            if path[-1] != key.field:
                value = read_secret_file(folder / str(value))
            if key.structured and isinstance(value, str):
                value = _parse_json(value)
        except OSError as error:
            self.add_problem(path, f"cannot read {error.filename}: {error.strerror}", origin)
        except ValueError as error:
            self.add_problem(path, str(error), origin)
        else:
            self.values[target] = SourcedValue(value, origin)


def display_key(path: KeyPath, origin: Origin) -> str:
    """A key as its source spells it."""
    return env_name(path) if origin.kind == "env" else ".".join(path)


def read_secret_file(path: Path) -> str:
    """What a secret's file holds, without the newline that editors add."""
    try:
        text = path.read_text(encoding="utf-8").rstrip("\r\n")
    except UnicodeError:
        raise ValueError(f"{path} is not text") from None
    if not text:
        raise ValueError(f"{path} is empty")
    return text


def _parse_json(text: str) -> Any:
    """A mapping or a list, where the source has only text for it."""
    try:
        return json.loads(text)
    except ValueError:
        raise ValueError("must be a list or a table (as JSON, where there is only text)") from None


def _find_key(path: KeyPath) -> Key | None:
    section, key_name = path[0], path[-1]
    table, named = sections().get(section, (None, False))
    if table is None or len(path) != (3 if named else 2):
        return None
    exact = known_keys().get((section, key_name))
    if exact or not key_name.endswith(FILE_SUFFIX):
        return exact
    behind = known_keys().get((section, key_name.removesuffix(FILE_SUFFIX)))
    return behind if behind and behind.secret else None


def _unknown_key_reason(path: KeyPath, origin: Origin) -> str:
    close = suggest(path)
    return "unknown key" + (f"; did you mean {display_key(close, origin)}?" if close else "")
