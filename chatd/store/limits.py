"""Limits that the statements of callers check while they hold the lock of the chat."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatLimits:
    """Limits on what callers may store; 0 means unlimited."""

    max_queued_messages: int = 0
    """Messages in the queue of one chat."""
    max_active_chats: int = 0
    """Chats of one owner that are pending, running, interrupting or waiting for tool results."""

    @property
    def of_owner(self) -> Mapping[str, int] | None:
        """The limits that ``chat_owner_refusal`` applies; None is no limit."""
        limit = self.max_active_chats
        return {"max_active_chats": limit} if limit else None
