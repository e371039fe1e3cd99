"""The journal: one entry for each transition of a chat, which never changes."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from chatd.domain.chat import Status
from chatd.domain.message import Message
from chatd.domain.request_actor import RequestActor
from chatd.domain.transitions import Transition


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEntry:
    """One row of ``chat_events``, with the messages that its transition stored."""

    chat_id: UUID
    version: int
    created_at: datetime
    transition: Transition
    status: Status
    epoch: int
    worker_id: UUID | None
    data: Mapping[str, Any]
    actor: RequestActor | None = None
    """The actor of the request that made the transition. None if none did, or if it was not read."""
    acted_for: bool = False
    """True if the actor acted for the owner of the chat."""
    messages: tuple[Message, ...] = ()

    @property
    def size(self) -> int:
        """Bytes that the messages take in events, about."""
        return sum([message.size for message in self.messages]) if self.messages else 0
