"""Chats that name this worker in the database although none of its tasks runs them."""

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field
from math import inf
from uuid import UUID

from chatd.domain.outcomes import ReapReason
from chatd.store.leases import Renewal

ChatEpoch = tuple[UUID, int]


@dataclass(slots=True, eq=False)
class ClaimStatement:
    """A statement that may claim chats. ``ended_at`` is when their tasks were started, or it failed."""

    chat_id: UUID | None
    """The only chat that it may claim. None: it may claim any."""
    ended_at: float = inf

    def may_bring(self, chat_id: UUID) -> bool:
        """Return whether the statement may claim a chat."""
        return self.chat_id is None or self.chat_id == chat_id


@dataclass(slots=True)
class _Unheld:
    reason: ReapReason
    found_at: float
    claims: Sequence[ClaimStatement] = ()
    """The claims that were under way when it was found, one of which may bring it."""
    confirmed: bool = field(default=False, init=False)
    """A renewal sent later than ``not_before`` found that the chat still names this worker."""

    @property
    def not_before(self) -> float:
        return max([self.found_at, *(claim.ended_at for claim in self.claims)])


class UnheldChats:
    """Chats that the worker's lease keeps from all workers, and that this worker has to give back.

    The task of such a chat ended without storing an end, or was given up. Or no task is known: the chat was
    claimed by a statement whose response was lost, or is on its way. It is lost if a renewal that is sent
    after the end of every claim that may bring it still finds it without a task.
    """

    def __init__(self) -> None:
        self._chats: dict[ChatEpoch, _Unheld] = {}
        self._claims: list[ClaimStatement] = []

    def claim_sent(self, *, chat_id: UUID | None = None) -> ClaimStatement:
        """Record that a statement is sent which may claim a chat (None: any)."""
        claim = ClaimStatement(chat_id)
        self._claims.append(claim)
        return claim

    def claim_ended(self, claim: ClaimStatement, *, now: float) -> bool:
        """Record that the statement ended. Return True if a renewal is due, to tell what it claimed."""
        claim.ended_at = now
        self._claims.remove(claim)
        return self._awaits_renewal()

    def add(self, chat: ChatEpoch, reason: ReapReason, *, now: float) -> None:
        """Record that the task of a chat is over, or was given up. The chat may still be leased."""
        self._chats.setdefault(chat, _Unheld(reason, now))

    def observe(self, renewals: Iterable[Renewal], *, held: Set[ChatEpoch], sent_at: float) -> bool:
        """Compare with what a renewal sent at ``sent_at`` found. Return True if another is due."""
        named = {(renewal.chat_id, renewal.epoch) for renewal in renewals} - held
        for chat, unheld in list(self._chats.items()):
            is_evidence = unheld.not_before < sent_at
            if is_evidence:
                unheld.confirmed = chat in named
            if chat in held or (is_evidence and chat not in named):
                del self._chats[chat]
        for chat in named - self._chats.keys():
            claims = tuple(claim for claim in self._claims if claim.may_bring(chat[0]))
            self._chats[chat] = _Unheld(ReapReason.NO_TASK, sent_at, claims)
        return self._awaits_renewal()

    def to_give_back(self) -> list[tuple[ChatEpoch, ReapReason]]:
        """Return the chats that certainly have no task and still name this worker."""
        return [(chat, unheld.reason) for chat, unheld in self._chats.items() if unheld.confirmed]

    def _awaits_renewal(self) -> bool:
        return any(
            not unheld.confirmed and unheld.not_before < inf for unheld in self._chats.values()
        )
