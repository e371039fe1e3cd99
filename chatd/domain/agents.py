"""Values of chats that start others. Models know these as agents.

An agent is a chat with a parent. The parent's model starts it by a tool call, and waits for it by another.
"""

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Wait of a parked tool call for chats: until one of them is idle, or all are."""

    chat_ids: tuple[UUID, ...]
    for_all: bool
    seconds: float
    """Time after which the wait is over, whatever the chats do."""
