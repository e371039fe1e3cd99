"""All configuration keys, derived from the settings models, and suggestions for misspelt ones."""

import difflib
import re
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
_MAX_WORD_LENGTH = 200
"""Characters of a word that is compared with the known ones, which takes their product of steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One setting. In a section of named tables it exists once for each name."""

    section: str
    field: str
    named: bool
    secret: bool
    reloadable: bool
    info: FieldInfo

    @property
    def default(self) -> Any:
        return self.info.get_default(call_default_factory=True, validated_data={})

    @property
    def description(self) -> str:
        return " ".join((self.info.description or "").split())


@cache
def sections() -> dict[str, tuple[type[BaseModel], bool]]:
    """Return each section's model, and whether the section holds one such table for each name."""
    annotations = {name: info.annotation for name, info in Settings.model_fields.items()}
    return {
        section: ((get_args(annotation) or (annotation,))[-1], get_origin(annotation) is dict)
        for section, annotation in annotations.items()
    }


@cache
def known_keys() -> dict[tuple[str, str], Key]:
    """Return all keys by section and field, in the order of the models."""
    return {
        (section, field): Key(
            section=section,
            field=field,
            named=named,
            secret=_has_secret(info.annotation),
            reloadable=RELOADABLE in [*info.metadata, *Settings.model_fields[section].metadata],
            info=info,
        )
        for section, (model, named) in sections().items()
        for field, info in model.model_fields.items()
    }


def _has_secret(annotation: Any) -> bool:
    return annotation is SecretStr or any(map(_has_secret, get_args(annotation)))


@cache
def _spellings() -> dict[tuple[str, str], Key]:
    """Return all keys by section and word: a secret by ``<key>_file`` too."""
    known = known_keys()
    files = {(s, field + FILE_SUFFIX): key for (s, field), key in known.items() if key.secret}
    return known | files


def is_named(section: str) -> bool:
    """Return whether the section holds named tables, such as ``[models.fast]``."""
    return section in sections() and sections()[section][1]


def path_length(section: str) -> int:
    """Return the number of words in the path of a key of this section. An unknown section has 1."""
    return 2 + is_named(section) if section in sections() else 1


def find_key(path: KeyPath) -> Key | None:
    """Return the key at this path. ``<key>_file`` finds a secret too."""
    return _spellings().get((path[0], path[-1])) if len(path) == path_length(path[0]) else None


def setting_values(settings: Settings) -> Iterator[tuple[KeyPath, Any]]:
    """Yield every key with its value, in the order of the models, table by table."""
    for section, (model, named) in sections().items():
        tables = getattr(settings, section) if named else {"": getattr(settings, section)}
        for name, table in tables.items():
            for field in model.model_fields:
                yield (section, name, field) if name else (section, field), getattr(table, field)


def env_name(path: KeyPath) -> str:
    """Return the environment variable of a key."""
    return ENV_PREFIX + "__".join(re.sub(r"[^A-Z0-9]", "_", word.upper()) for word in path)


def suggest(path: KeyPath) -> KeyPath | None:
    """Return the key with the most similar name. One word may be a section, or a key without ``__``."""
    if max(map(len, path)) > _MAX_WORD_LENGTH:
        return None
    section, *name, _ = ("", *path) if len(path) == 1 else path
    candidates: list[KeyPath] = [(each,) for each in sections() if not section]
    candidates += [
        (s, *name, word) for (s, word), key in _spellings().items() if key.named == bool(name)
    ]
    known = {".".join(each): each for each in candidates}
    close = difflib.get_close_matches(".".join(path), known, n=1, cutoff=0.6)
    return known[close[0]] if close else None
