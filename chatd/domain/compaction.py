"""Compaction: a summary stands in the history for the messages that it covers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

COMPACTION_PART: Final = "compaction"
"""Type of the part that tells people of a compaction."""


@dataclass(frozen=True, slots=True)
class CompactionRequest:
    """A compaction that a caller asked for. ``instructions`` are for the model that writes the summary."""

    instructions: str | None = None
    idle_version: int | None = None
    """The version that asked an idle chat. Its turn answers no message from before. None: it was busy."""
    is_done: bool = False
    """True if only the end of its turn is left."""


def compaction_part(*, before_tokens: int, after_tokens: int) -> Mapping[str, Any]:
    """Return the notice of a compaction, with the tokens of the history before and after it, about."""
    return {
        "type": COMPACTION_PART,
        "before_tokens": before_tokens,
        "after_tokens": after_tokens,
    }
