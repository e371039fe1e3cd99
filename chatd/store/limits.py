"""Limits on what callers may store, and on what one read returns."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

PAGE_BYTES: Final = 1024 * 1024
"""Bytes of messages that one read returns. A larger message is a page of its own.

In Python, a page takes up to ten times as much while it is decoded and sent.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatLimits:
    """Limits on what callers may store; 0 means unlimited."""

    max_queued_messages: int = 0
    """Messages in the queue of one chat."""
    max_active_chats: int = 0
    """Chats of one owner that are pending, running, interrupting or waiting for tool results."""

    max_running_per_owner: int = 0
    """Chats of one owner that run, or may be claimed, at the same time. Others are held."""

    max_chat_bytes: int = 0
    """Bytes of the messages, tools and files of one chat."""
    max_owner_bytes: int = 0
    """Bytes of the large chats of one owner."""

    max_depth: int = 2
    """Generations below a root chat."""
    max_children: int = 8
    """Chats that one chat may start."""
    max_family: int = 32
    """Chats of a root chat and all its descendants."""
    max_answer_characters: int = 8000
    """Characters of an answer that another chat is shown."""

    @property
    def of_owner(self) -> Mapping[str, int] | None:
        """The limits that the functions of the schema apply; None is no limit."""
        limits = {
            "max_active_chats": self.max_active_chats,
            "max_running_per_owner": self.max_running_per_owner,
            "max_chat_bytes": self.max_chat_bytes,
            "max_owner_bytes": self.max_owner_bytes,
        }
        return {name: limit for name, limit in limits.items() if limit} or None

    @property
    def of_family(self) -> Mapping[str, int]:
        """The limits on chats that others start."""
        return {
            "max_depth": self.max_depth,
            "max_children": self.max_children,
            "max_family": self.max_family,
        }
