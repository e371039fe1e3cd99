"""The part of new settings that a reload applies."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from chatd.settings import Settings
from chatd.settings.keys import known_keys
from chatd.settings.reloadable import (
    changed_keys,
    is_reloadable,
    merge_reloadable,
)

VALUES: dict[tuple[str, str], st.SearchStrategy[Any]] = {
    ("database", "pool_size"): st.integers(2, 9),
    ("http", "port"): st.integers(0, 9),
    ("http", "sse_keepalive_seconds"): st.integers(1, 9),
    ("worker", "max_chats"): st.integers(1, 9),
    ("worker", "poll_seconds"): st.integers(1, 9),
    ("turn", "max_steps"): st.integers(1, 9),
    ("log", "level"): st.sampled_from(["info", "error"]),
}
NAMES = st.sets(st.sampled_from(["a", "b", "c"]), min_size=1)


@st.composite
def trees(draw: st.DrawFn) -> Settings:
    tree: dict[str, dict[str, Any]] = {}
    for (section, key), values in VALUES.items():
        tree.setdefault(section, {})[key] = draw(values)
    names = sorted(draw(NAMES))
    headers = draw(st.sampled_from([{}, {"x": "secret"}]))
    tree["providers"] = {name: {"kind": "scripted", "headers": headers} for name in names}
    tree["models"] = {
        name: {"provider": name, "model": "m", "default": name == names[0]} for name in names
    }
    return Settings.model_validate(tree)


@given(trees(), trees())
def test_reload_applies_reloadable_keys_only(old: Settings, new: Settings) -> None:
    in_force = merge_reloadable(old, new)
    keys = changed_keys(old, new)
    assert [key for key in keys if is_reloadable(key)] == list(changed_keys(old, in_force))
    assert [key for key in keys if not is_reloadable(key)] == list(changed_keys(in_force, new))
    assert changed_keys(in_force, merge_reloadable(in_force, new)) == ()


@given(trees())
def test_equal_settings_have_no_changed_keys(tree: Settings) -> None:
    assert changed_keys(tree, tree) == ()


def test_reloadable_marks_on_sections_and_keys() -> None:
    whole = {"limits", "log", "providers", "models", "turn", "tools", "http_tools", "mcp", "agents"}
    single = {
        ("http", "max_body_bytes"),
        ("http", "sse_keepalive_seconds"),
        ("worker", "max_chats"),
        ("worker", "max_queued_messages"),
    }
    assert set(Settings.model_fields) >= whole
    assert set(known_keys()) >= single
    marked = {path for path, key in known_keys().items() if key.reloadable}
    assert marked == {path for path in known_keys() if path[0] in whole or path in single}
