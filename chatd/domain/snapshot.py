"""The state that a stream without a cursor begins with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chatd.domain.chat import Chat
from chatd.domain.message import Message, Part, QueuedMessage, pending_tool_calls
from chatd.domain.question import action


@dataclass(frozen=True, slots=True)
class ChatSnapshot:
    """A chat and what a person sees of it at one moment, as far as it fits: the newest messages.

    ``queue`` is the front of the queue. ``parts`` are the live parts of the running step, from its first
    one on.
    """

    chat: Chat
    messages: Sequence[Message]
    queue: Sequence[QueuedMessage]
    parts: Sequence[Part]
    has_older: bool = False
    """True if there are messages before these."""
    asked: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The tool calls that are asked, by id: each with its ``question`` and when it ``expires_at``."""

    @property
    def action_required(self) -> Mapping[str, Any] | None:
        """The fields of the ``action_required`` event that still holds; None when no call is open."""
        deadline = self.chat.action_deadline
        if deadline is None:
            return None
        calls = [
            action(call.part, asked["question"], asked["expires_at"] or deadline)
            for call in pending_tool_calls(self.messages)
            if (asked := self.asked.get(call.id)) is not None
        ]
        return {"calls": calls, "deadline": deadline}


@dataclass(frozen=True, slots=True)
class ChatListSnapshot:
    """The newest chats of a list. ``has_more`` tells that the list is longer."""

    chats: Sequence[Chat]
    has_more: bool
