"""Unique ids for the tool calls of one response.

A result is matched to its call by id, here and at the provider. Some models send the same id twice in one
response, an empty id, a very long one, or one that is no text.
"""

from chatd.domain.message import Part

MAX_TOOL_CALL_ID_LENGTH = 200
"""Longest id that is kept as it is. Ids are keys of ``chat_tool_calls``."""


class ToolCallIds:
    """Ids of the tool calls of one response, assigned before any subscriber sees them."""

    def __init__(self) -> None:
        self._assigned: dict[int, str] = {}

    def with_unique_id(self, delta: Part) -> Part:
        """Return ``delta`` with an id that no other call of this response has."""
        proposed = delta.get("tool_call_id")
        if proposed is None:
            return delta
        index = delta["index"]
        if index not in self._assigned:
            self._assigned[index] = self._unique_id(proposed, index)
        return {**delta, "tool_call_id": self._assigned[index]}

    def _unique_id(self, proposed: object, index: int) -> str:
        if not isinstance(proposed, str):
            proposed = ""
        assigned_ids = set(self._assigned.values())
        if 0 < len(proposed) <= MAX_TOOL_CALL_ID_LENGTH and proposed not in assigned_ids:
            return proposed
        stem = proposed[: MAX_TOOL_CALL_ID_LENGTH // 2] or "call"
        number = index
        while (name := f"{stem}-{number}") in assigned_ids:
            number += 1
        return name
