"""Differences between two settings trees, and the part of them that a reload applies."""

from chatd.settings.keys import known_keys, sections, setting_values
from chatd.settings.settings import Settings
from chatd.settings.types import KeyPath


def is_reloadable(path: KeyPath) -> bool:
    """Return whether SIGHUP applies a change of this key, or of this named table."""
    return any(
        key.reloadable
        for key in known_keys().values()
        if key.section == path[0] and (key.named or key.field == path[-1])
    )


def changed_keys(old: Settings, new: Settings) -> tuple[KeyPath, ...]:
    """List the keys whose values differ, section by section.

    A named table that was added or removed is one entry.
    """
    before, after = dict(setting_values(old)), dict(setting_values(new))
    changed: dict[KeyPath, None] = {}
    for path in {**before, **after}:
        if (path in before) != (path in after):
            changed[path[:-1]] = None
        elif before[path] != after[path]:
            changed[path] = None
    order = list(sections())
    return tuple(sorted(changed, key=lambda path: order.index(path[0])))


def merge_reloadable(old: Settings, new: Settings) -> Settings:
    """Return the settings in force after a reload: reloadable keys of ``new``, all others of ``old``."""
    update = {}
    for section, (_, named) in sections().items():
        keys = [key for key in known_keys().values() if key.section == section and key.reloadable]
        table = getattr(new, section)
        if keys and not named:
            fields = {key.field: getattr(table, key.field) for key in keys}
            table = getattr(old, section).model_copy(update=fields)
        if keys:
            update[section] = table
    return old.model_copy(update=update)
