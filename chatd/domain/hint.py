"""Hints: notices of other processes that a chat changed."""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from chatd.domain.chat import Status


@dataclass(frozen=True, slots=True)
class Hint:
    """A notice that a chat reached a version. It may arrive late, twice, out of order or never."""

    chat_id: UUID
    version: int
    status: Status | None = None
    """None: live parts were stored, and the chat itself did not change."""


RESYNC: Final = Hint(UUID(int=0), 0)
"""The hint that others may have been missed: check everything once. Compared by identity."""
