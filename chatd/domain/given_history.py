"""The rules for a history that a caller gives, which no model call of chatd made."""

from collections.abc import Sequence
from typing import Final

from chatd.domain.message import Content, NewMessage, Role

MAX_GIVEN_MESSAGES: Final = 10_000
"""Messages that a caller may store at once. Longer histories are compacted before any model reads them."""

_PART_TYPES: Final = {
    Role.SYSTEM: frozenset({"text"}),
    Role.USER: frozenset({"text", "file"}),
    Role.ASSISTANT: frozenset({"text", "tool-call"}),
    Role.TOOL: frozenset({"tool-result"}),
}
"""Types of parts that a caller may give, by the role of their message."""


def find_history_fault(messages: Sequence[NewMessage]) -> str | None:
    """Return why these messages may not be stored as they are. None: they may.

    The results of tool calls are in the message after the calls, one of each call. No call is left open, so
    that a message of the user can follow at any time.
    """
    if len(messages) > MAX_GIVEN_MESSAGES:
        return f"There are more than {MAX_GIVEN_MESSAGES} messages."
    calls: list[str] = []
    for number, message in enumerate(messages, 1):
        if not message.content:
            return f"Message {number} has no content."
        unknown = {part["type"] for part in message.content} - _PART_TYPES[message.role]
        if unknown:
            return f"Message {number} of the role {message.role} has a part of the type {min(unknown)}."
        if sorted(_ids(message.content, "tool-result")) != sorted(calls):
            return (
                f"Message {number} must have one result of each tool call of the message before it."
            )
        calls = _ids(message.content, "tool-call")
        if len(set(calls)) < len(calls):
            return f"Message {number} has two tool calls of one id."
    return f"Message {len(messages)} has tool calls without results." if calls else None


def _ids(content: Content, part_type: str) -> list[str]:
    return [part["tool_call_id"] for part in content if part["type"] == part_type]
