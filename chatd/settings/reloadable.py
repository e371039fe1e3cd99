"""What differs between two trees, and which of it a running process can take over."""

from collections.abc import Iterable, Iterator
from typing import Any

from chatd.settings.keys import known_keys, sections
from chatd.settings.settings import KeyPath, Settings

RELOADABLE_SECTIONS = frozenset({"limits", "log", "providers", "models", "turn"})
RELOADABLE_KEYS = frozenset(
    {
        ("http", "max_body_bytes"),
        ("http", "sse_keepalive_seconds"),
        ("worker", "max_chats"),
        ("worker", "max_queued_messages"),
    }
)
"""What SIGHUP reloads. The rest shapes connections, leases and the tree of actors: it needs a start."""


def is_reloadable(path: KeyPath) -> bool:
    """Whether a running process takes a change of this key over."""
    return path[0] in RELOADABLE_SECTIONS or path in RELOADABLE_KEYS


def changed_keys(old: Settings, new: Settings) -> tuple[KeyPath, ...]:
    """The keys whose values differ, in the order of the tree; a table that came or went as a whole."""
    return tuple(_changed_keys(old, new))


def merge_reloadable(old: Settings, new: Settings) -> Settings:
    """What is in force after a reload: of ``new`` what is live, of ``old`` the rest."""
    return old.model_copy(
        update={section: _merge_section(section, old, new) for section in Settings.model_fields}
    )


def _merge_section(section: str, old: Settings, new: Settings) -> Any:
    if section in RELOADABLE_SECTIONS:
        return getattr(new, section)
    table = getattr(new, section)
    live = {key: getattr(table, key) for where, key in RELOADABLE_KEYS if where == section}
    return getattr(old, section).model_copy(update=live)


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
