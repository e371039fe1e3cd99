"""Content of messages: its text, and parts put together from their deltas."""

from collections.abc import Iterable, Mapping
from typing import Any, cast

from chatd.client.types import Part, PartDelta

_CONCATENATED_KEYS = {"text", "args"}
"""Keys whose values are joined. Of every other key the latest value counts."""


def text_of(content: Iterable[Part]) -> str:
    """Return the text of all text parts, joined."""
    return "".join(part["text"] for part in content if part["type"] == "text")


def fold_parts(
    deltas: Iterable[PartDelta], base: Mapping[int, Part] | None = None
) -> dict[int, Part]:
    """Return the parts that the deltas make, by index, on top of those in ``base``."""
    parts = dict(base or {})
    for delta in deltas:
        before: Mapping[str, Any] = cast("Mapping[str, Any]", parts.get(delta["index"], {}))
        now: dict[str, Any] = {**delta}
        del now["index"]
        for key in _CONCATENATED_KEYS & before.keys() & now.keys():
            now[key] = f"{before[key]}{now[key]}"
        parts[delta["index"]] = cast("Part", {**before, **now})
    return parts
