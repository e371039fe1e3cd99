"""All configuration keys, derived from the settings models, and suggestions for misspelt ones."""

import difflib
import re
import types
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from chatd.settings.settings import Settings
from chatd.settings.types import RELOADABLE, KeyPath

ENV_PREFIX = "CHATD_"
FILE_SUFFIX = "_file"
NAMED_LENGTH = 3
"""Words in the path of a key in a named table: section, name and field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One setting. In a section of named tables it exists once for each name."""

    section: str
    field: str
    named: bool
    secret: bool
    structured: bool
    reloadable: bool
    info: FieldInfo

    @property
    def default(self) -> Any:
        return self.info.get_default(call_default_factory=True, validated_data={})

    def path(self, name: str | None = None) -> KeyPath:
        """Return the full key, in the named table ``name``."""
        return (self.section, name, self.field) if name else (self.section, self.field)


@cache
def known_keys() -> dict[tuple[str, str], Key]:
    """Return all keys by section and field, in the order of the models."""
    return {
        (section, field): _key(section, field, info, named=named)
        for section, (model, named) in sections().items()
        for field, info in model.model_fields.items()
    }


@cache
def sections() -> dict[str, tuple[type[BaseModel], bool]]:
    """Return each section's model, and whether the section holds one such table for each name."""
    by_name: dict[str, tuple[type[BaseModel], bool]] = {}
    for section, info in Settings.model_fields.items():
        *_, model = get_args(info.annotation) or (info.annotation,)
        by_name[section] = (model, get_origin(info.annotation) is dict)
    return by_name


def _key(section: str, field: str, info: FieldInfo, *, named: bool) -> Key:
    types_in_it = set(_flatten_annotation(info.annotation))
    marks = [*info.metadata, *Settings.model_fields[section].metadata]
    return Key(
        section=section,
        field=field,
        named=named,
        secret=SecretStr in types_in_it,
        structured=bool(types_in_it & {dict, list}),
        reloadable=RELOADABLE in marks,
        info=info,
    )


def _flatten_annotation(annotation: Any) -> Iterator[Any]:
    """Yield the types in an annotation: ``dict[str, SecretStr]`` is dict, str and SecretStr."""
    origin = get_origin(annotation)
    yield origin if origin not in {None, types.UnionType} else annotation
    for argument in get_args(annotation):
        yield from _flatten_annotation(argument)


def path_length(section: str | None) -> int:
    """Return the number of words in the path of a key of this section. An unknown section has 1."""
    if section not in sections():
        return 1
    return NAMED_LENGTH if sections()[section][1] else NAMED_LENGTH - 1


def find_key(path: KeyPath) -> Key | None:
    """Return the key at this path. ``<key>_file`` finds a secret too."""
    section, field = path[0], path[-1]
    if len(path) != path_length(section):
        return None
    key = known_keys().get((section, field.removesuffix(FILE_SUFFIX)))
    return known_keys().get((section, field)) or (key if key and key.secret else None)


def setting_values(settings: Settings) -> Iterator[tuple[KeyPath, Any]]:
    """Yield every key with its value, in the order of the models, table by table."""
    for section, (model, named) in sections().items():
        tables = getattr(settings, section) if named else {"": getattr(settings, section)}
        for name, table in tables.items():
            for field in model.model_fields:
                yield (section, name, field) if name else (section, field), getattr(table, field)


def env_name(path: KeyPath) -> str:
    """Return the environment variable of a key."""
    words = (re.sub(r"[^A-Z0-9]", "_", word.upper()) for word in path)
    return ENV_PREFIX + "__".join(words)


def suggest_section(section: str) -> str | None:
    """Return the section with this or a similar name."""
    close = difflib.get_close_matches(section, sections(), n=1, cutoff=0.75)
    return close[0] if close else None


def suggest(path: KeyPath) -> KeyPath | None:
    """Return the known key, or section, with the most similar name."""
    candidates = {".".join(known): known for known in _candidates(path)}
    close = difflib.get_close_matches(".".join(path), candidates, n=1, cutoff=0.6)
    return candidates[close[0]] if close else None


def _candidates(path: KeyPath) -> Iterator[KeyPath]:
    """Yield the paths of the same shape. A single word may be a section, or a key without ``__``."""
    if len(path) == 1:
        yield from ((section,) for section in sections())
    name = path[1] if len(path) == NAMED_LENGTH else None
    for key in known_keys().values():
        if key.named == (name is not None):
            yield key.path(name)
            if key.secret:
                yield (*key.path(name)[:-1], key.field + FILE_SUFFIX)
