"""The ids of an answer's tool calls, made fit to name one call each.

A result is matched to its call by id, here and at the vendor's. Models and their vendors are not
always careful with them: the same id twice in one answer, an empty one, or a very long one.
"""

from typing import Any

MAX_TOOL_CALL_ID_LENGTH = 200
"""Characters of an id that is kept: it is a key of ``chat_tool_calls``, and no place for prose."""


class ToolCallIds:
    """Settles the ids of one answer, fragment by fragment, before anybody sees them."""

    def __init__(self) -> None:
        self._assigned: dict[int, str] = {}

    def with_unique_id(self, delta: dict[str, Any]) -> dict[str, Any]:
        """The fragment, with an id that no other call of this answer has."""
        given = delta.get("tool_call_id")
        if given is None:
            return delta
        index = delta["index"]
        if index not in self._assigned:
            self._assigned[index] = self._unique_id(given, index)
        return {**delta, "tool_call_id": self._assigned[index]}

    def _unique_id(self, proposed: str, index: int) -> str:
        taken = set(self._assigned.values())
        if 0 < len(proposed) <= MAX_TOOL_CALL_ID_LENGTH and proposed not in taken:
            return proposed
        stem = proposed[: MAX_TOOL_CALL_ID_LENGTH // 2] or "call"
        number = index
        while (name := f"{stem}-{number}") in taken:
            number += 1
        return name
