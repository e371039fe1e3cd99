"""Values of chats that start others. Models know these as agents.

An agent is a chat with a parent. The parent's model starts it by a tool call, and waits for it by another.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from chatd.domain.chat import Usage
from chatd.domain.message import NewMessage


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Wait of a parked tool call for chats: until one of them is idle, or all are."""

    chat_ids: tuple[UUID, ...]
    for_all: bool
    seconds: float
    """Time after which the wait is over, whatever the chats do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spawn:
    """A chat that another one starts. What is None is that of the parent.

    A tool call starts it. ``id`` is the key of the call, so one that is repeated starts no other.
    """

    id: UUID
    messages: Sequence[NewMessage]
    title: str = ""
    model_config_id: UUID | None = None
    server_tools: Mapping[str, Sequence[str]] | None = None


class SpawnRefusal(StrEnum):
    """The reason why a chat may not start another one."""

    TOO_DEEP = "too_deep"
    TOO_MANY_CHILDREN = "too_many_children"
    FAMILY_TOO_LARGE = "family_too_large"
    CHAT_FULL = "chat_full"
    """The prompt is larger than a chat may be."""
    STORAGE_FULL = "storage_full"
    """The owner has no space left."""
    ID_TAKEN = "id_taken"
    """A caller has created a chat with the id that this call gives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """A descendant of a chat. ``result`` is what the model of that chat learns of it."""

    id: UUID
    parent_chat_id: UUID
    depth: int
    """1: the chat has started it itself."""
    result: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A root chat and all its descendants: how many they are, and what they have spent together."""

    chats: int
    usage: Usage
