"""Every key there is, read off the tree, and the nearest one to a misspelt one."""

import difflib
import re
import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from chatd.settings.sections import RELOADABLE
from chatd.settings.settings import KeyPath, Settings

ENV_PREFIX = "CHATD_"
FILE_SUFFIX = "_file"
NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""What a provider or model may be called: fit for a TOML key, a variable and a file name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One setting. In a ``named`` section it exists once for each name."""

    section: str
    field: str
    named: bool
    secret: bool
    structured: bool
    reloadable: bool
    default: Any
    description: str

    def path(self, name: str | None = None) -> KeyPath:
        return (self.section, name, self.field) if name else (self.section, self.field)


@cache
def known_keys() -> dict[tuple[str, str], Key]:
    """All keys by section and field, in the order of the tree."""
    return {
        (section, field): _key(section, field, info, named=named)
        for section, (model, named) in sections().items()
        for field, info in model.model_fields.items()
    }


@cache
def sections() -> dict[str, tuple[type[BaseModel], bool]]:
    """Each section's table, and whether the section holds one such table for each name."""
    found: dict[str, tuple[type[BaseModel], bool]] = {}
    for section, info in Settings.model_fields.items():
        leaf, *_ = reversed(get_args(info.annotation) or (info.annotation,))
        found[section] = (leaf, get_origin(info.annotation) is dict)
    return found


def _key(section: str, field: str, info: FieldInfo, *, named: bool) -> Key:
    kinds = set(_flatten_annotation(info.annotation))
    default = info.get_default(call_default_factory=True, validated_data={})
    return Key(
        section=section,
        field=field,
        named=named,
        secret=SecretStr in kinds,
        structured=bool(kinds & {dict, list}),
        reloadable=RELOADABLE in info.metadata
        or RELOADABLE in Settings.model_fields[section].metadata,
        default=default,
        description=info.description or "",
    )


def is_required(key: Key) -> bool:
    return key.default is PydanticUndefined


def _flatten_annotation(annotation: Any) -> Iterable[Any]:
    """The types an annotation is made of: ``dict[str, SecretStr]`` is dict, str and SecretStr."""
    origin = get_origin(annotation)
    yield origin if origin not in {None, types.UnionType} else annotation
    for argument in get_args(annotation):
        yield from _flatten_annotation(argument)


def env_name(path: KeyPath) -> str:
    """How the environment spells a key."""
    words = (re.sub(r"[^A-Z0-9]", "_", word.upper()) for word in path)
    return ENV_PREFIX + "__".join(words)


def suggest_section(section: str) -> str | None:
    """The section that is, or probably was, meant."""
    close = difflib.get_close_matches(section, sections(), n=1, cutoff=0.75)
    return close[0] if close else None


def suggest(path: KeyPath) -> KeyPath | None:
    """The known key that was probably meant."""
    spelt = {".".join(known): known for known in _suggestion_candidates(path)}
    close = difflib.get_close_matches(".".join(path), spelt, n=1, cutoff=0.6)
    return spelt[close[0]] if close else None


def _suggestion_candidates(path: KeyPath) -> Iterator[KeyPath]:
    """What a path of this shape may have meant; one word may be a section or a glued key."""
    match path:
        case (_,):
            yield from ((section,) for section in sections())
            name = None
        case (_, name, _):
            pass
        case _:
            name = None
    for key in known_keys().values():
        if key.named == (name is not None):
            yield key.path(name)
            if key.secret:
                yield (*key.path(name)[:-1], key.field + FILE_SUFFIX)
