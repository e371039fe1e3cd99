"""Ids of tool calls in one request."""

import hashlib
import re

from chatd.llm.vendors.history_rules import HistoryRules


class ToolCallIds:
    """Ids of tool calls in one history: those of the messages, where they are unique and fit."""

    def __init__(self, rules: HistoryRules) -> None:
        self._pattern = re.compile(rules.tool_call_id_pattern)
        self._length = rules.tool_call_id_length
        self._taken: set[str] = set()

    def fit(self, stored: str) -> str:
        """Return the id, or one derived from it, the same in every request of this chat."""
        name, number = stored, 0
        while name in self._taken or not self._pattern.fullmatch(name):
            number += 1
            digest = hashlib.sha256(f"{stored}#{number}".encode()).hexdigest()
            name = f"call{digest}"[: self._length]
        self._taken.add(name)
        return name
