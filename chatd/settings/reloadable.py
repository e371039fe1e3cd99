"""Differences between two settings trees, and the part of them that a reload applies."""

from collections.abc import Iterable, Iterator
from typing import Any

from chatd.settings.keys import known_keys, sections
from chatd.settings.settings import KeyPath, Settings


def is_reloadable(path: KeyPath) -> bool:
    """Return whether SIGHUP applies a change of this key, or of this named table."""
    return any(
        key.reloadable
        for key in known_keys().values()
        if key.section == path[0] and (key.named or key.field == path[-1])
    )


def changed_keys(old: Settings, new: Settings) -> tuple[KeyPath, ...]:
    """List the keys whose values differ, in the order of the tree.

    A named table that was added or removed is one entry.
    """
    return tuple(_changed_keys(old, new))


def merge_reloadable(old: Settings, new: Settings) -> Settings:
    """Return the settings in force after a reload: reloadable keys of ``new``, all others of ``old``."""
    return old.model_copy(
        update={
            section: _merge_section(section, named, old, new)
            for section, (_, named) in sections().items()
        }
    )


def _merge_section(section: str, named: bool, old: Settings, new: Settings) -> Any:
    before, after = getattr(old, section), getattr(new, section)
    if named:
        return after if is_reloadable((section,)) else before
    keys = [key for key in known_keys().values() if key.section == section and key.reloadable]
    return before.model_copy(update={key.field: getattr(after, key.field) for key in keys})


def _changed_keys(old: Settings, new: Settings) -> Iterator[KeyPath]:
    for section, (_, named) in sections().items():
        before, after = getattr(old, section), getattr(new, section)
        if not named:
            yield from _changed_fields(section, None, before, after)
            continue
        for name in dict.fromkeys([*before, *after]):
            if name in before and name in after:
                yield from _changed_fields(section, name, before[name], after[name])
            else:
                yield (section, name)


def _changed_fields(section: str, name: str | None, before: Any, after: Any) -> Iterable[KeyPath]:
    for key in known_keys().values():
        if key.section == section and getattr(before, key.field) != getattr(after, key.field):
            yield key.path(name)
