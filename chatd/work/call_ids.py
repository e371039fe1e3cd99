"""The ids of an answer's tool calls, made fit to name one call each.

A result is matched to its call by id, here and at the vendor's. Models and their vendors are not
always careful with them: the same id twice in one answer, an empty one, or a very long one.
"""

from typing import Any

LONGEST = 200
"""Characters of an id that is kept: it is a key of ``chat_tool_calls``, and no place for prose."""


class CallIds:
    """Settles the ids of one answer, fragment by fragment, before anybody sees them."""

    def __init__(self) -> None:
        self._settled: dict[int, str] = {}

    def settle(self, fragment: dict[str, Any]) -> dict[str, Any]:
        """The fragment, with an id that no other call of this answer has."""
        given = fragment.get("tool_call_id")
        if given is None:
            return fragment
        index = fragment["index"]
        if index not in self._settled:
            self._settled[index] = self._unused(given, index)
        return {**fragment, "tool_call_id": self._settled[index]}

    def _unused(self, given: str, index: int) -> str:
        taken = set(self._settled.values())
        if 0 < len(given) <= LONGEST and given not in taken:
            return given
        stem = given[: LONGEST // 2] or "call"
        number = index
        while (name := f"{stem}-{number}") in taken:
            number += 1
        return name
