"""What a reload takes over of new settings, and what it does not."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from chatd.settings import Settings
from chatd.settings.changes import LIVE_KEYS, LIVE_SECTIONS, changed, is_live, with_live
from chatd.settings.keys import known_keys

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
def test_a_reload_leaves_exactly_what_needs_a_restart(old: Settings, new: Settings) -> None:
    in_force = with_live(old, new)
    keys = changed(old, new)
    assert [key for key in keys if is_live(key)] == list(changed(old, in_force))
    assert [key for key in keys if not is_live(key)] == list(changed(in_force, new))
    assert changed(in_force, with_live(in_force, new)) == ()


@given(trees())
def test_nothing_changed_is_nothing(tree: Settings) -> None:
    assert changed(tree, tree) == ()


def test_what_is_live_is_there() -> None:
    assert set(Settings.model_fields) >= LIVE_SECTIONS
    assert set(known_keys()) >= LIVE_KEYS
