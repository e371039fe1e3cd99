"""Chats with messages that this process has stored or hidden, for an actor that catches up with them."""

from collections.abc import Iterator, Sequence
from time import monotonic
from typing import Final
from uuid import UUID

from chatd.domain.journal import JournalEntry

_CHANGES_OF_MESSAGES: Final = ("messages", "copied_messages")
"""Fields of a journal entry that tell of stored messages."""


class ChangedChats:
    """Ids of at most ``max_chats`` chats, in the order in which they changed first.

    Those that come when it is full are left out: who reads them has to look for them in the database, too.
    """

    def __init__(self, *, max_chats: int = 10_000) -> None:
        self._max_chats = max_chats
        self._ids: dict[UUID, float] = {}
        """Each with the time when it came."""

    def __len__(self) -> int:
        return len(self._ids)

    def note(self, entries: Sequence[JournalEntry]) -> None:
        """Note the chat of these entries, if one of them stored a message."""
        chat_id = entries[0].chat_id
        if chat_id in self._ids or len(self._ids) >= self._max_chats:
            return
        if any(field in entry.data for entry in entries for field in _CHANGES_OF_MESSAGES):
            self._ids[chat_id] = monotonic()

    def add(self, chat_ids: Sequence[UUID]) -> None:
        """Add chats that were taken, or found elsewhere."""
        for chat_id in chat_ids[: self._max_chats - len(self._ids)]:
            self._ids.setdefault(chat_id, monotonic())

    @property
    def oldest_seconds(self) -> float:
        """Seconds for which the first of them has waited. 0: there is none."""
        return monotonic() - next(iter(self._ids.values())) if self._ids else 0.0

    def take(self, number: int) -> list[UUID]:
        """Remove and return the first of them, at most so many."""
        return list(self._taken(number))

    def _taken(self, number: int) -> Iterator[UUID]:
        while self._ids and number > 0:
            chat_id = next(iter(self._ids))
            del self._ids[chat_id]
            number -= 1
            yield chat_id
