"""The state that a stream without a cursor begins with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chatd.domain.chat import Chat
from chatd.domain.message import Message, Part, QueuedMessage, client_tool_calls, pending_tool_calls


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
    asked_call_ids: frozenset[str] = frozenset()
    """The tool calls that the client is asked for."""

    @property
    def action_required(self) -> Mapping[str, Any] | None:
        """The fields of the ``action_required`` event that still holds; None when no call is open."""
        deadline = self.chat.action_deadline
        if deadline is None:
            return None
        calls = client_tool_calls(
            call.part
            for call in pending_tool_calls(self.messages)
            if call.id in self.asked_call_ids
        )
        return {"calls": calls, "deadline": deadline}


@dataclass(frozen=True, slots=True)
class ChatListSnapshot:
    """The newest chats of a list. ``has_more`` tells that the list is longer."""

    chats: Sequence[Chat]
    has_more: bool
