"""Settings of calls that are to cost little: a title, not an answer."""

from collections.abc import Mapping
from typing import Any, Final

_EFFORT_SETTINGS: Final = frozenset(
    {
        "anthropic_effort",
        "anthropic_thinking",
        "openai_reasoning_effort",
        "openai_reasoning_summary",
        "thinking",
    }
)
"""Settings of the SDKs by which a model thinks more or less. They are for its answers."""


def lowest_effort(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a model's settings with as little thinking as it allows. Providers without it ignore that."""
    kept = {name: value for name, value in settings.items() if name not in _EFFORT_SETTINGS}
    return {**kept, "thinking": False}
