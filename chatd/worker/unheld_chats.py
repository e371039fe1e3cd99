"""Chats that name this worker in the database although none of its tasks runs them."""

from collections.abc import Iterable, Set
from dataclasses import dataclass
from uuid import UUID

from chatd.domain.outcomes import ReapReason
from chatd.store.leases import Renewal

ChatEpoch = tuple[UUID, int]


@dataclass(slots=True)
class _Unheld:
    reason: ReapReason
    not_before: float
    confirmed: bool = False
    """A renewal sent later than ``not_before`` found that the chat still names this worker."""


class UnheldChats:
    """Chats that the worker's lease keeps from all workers, and that this worker has to give back.

    The task of such a chat ended without storing an end, or was given up. Or no task is known: the chat was
    claimed by a statement whose response was lost, or is on its way. After ``claim_seconds`` it is lost.
    """

    def __init__(self, *, claim_seconds: float) -> None:
        self._claim_seconds = claim_seconds
        self._chats: dict[ChatEpoch, _Unheld] = {}

    def add(self, chat: ChatEpoch, reason: ReapReason, *, now: float) -> None:
        """Record that the task of a chat is over, or was given up. The chat may still be leased."""
        self._chats.setdefault(chat, _Unheld(reason, now))

    def observe(self, renewals: Iterable[Renewal], *, held: Set[ChatEpoch], sent_at: float) -> None:
        """Compare with the chats that a renewal sent at ``sent_at`` found."""
        named = {(renewal.chat_id, renewal.epoch) for renewal in renewals} - held
        for chat, unheld in list(self._chats.items()):
            if unheld.not_before < sent_at:
                unheld.confirmed = chat in named
            if chat in held or (unheld.not_before < sent_at and chat not in named):
                del self._chats[chat]
        for chat in named - self._chats.keys():
            self._chats[chat] = _Unheld(ReapReason.NO_TASK, sent_at + self._claim_seconds)

    def to_give_back(self) -> list[tuple[ChatEpoch, ReapReason]]:
        """Return the chats that certainly have no task and still name this worker."""
        return [(chat, unheld.reason) for chat, unheld in self._chats.items() if unheld.confirmed]
