"""Commit listener: the functions that a process wants called with everything its stores commit.

Publishing a commit costs some 10 us, one subscriber included. The benchmark ``turns`` watches it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from chatd.domain.chat import IDLE, Chat, Status
from chatd.domain.journal import JournalEntry
from chatd.domain.message import Content, Message
from chatd.domain.transitions import Transition
from chatd.store import results
from chatd.store.records import Row, TransitionResult


def _ignore(*_: object) -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitListener:
    """Functions that the stores call after a commit, once, before the caller of the store goes on.

    They must neither block nor raise.
    """

    on_commit: Callable[[Sequence[JournalEntry], str], None] = _ignore
    """Called with the journal entries that a statement appended to one chat, and the chat's owner.

    It is one entry for each transition that changed something. Most statements make one transition.

    A repeated request reports the entry again: the first response may have been lost together with its
    report, and readers skip a version that they have.
    """
    on_create: Callable[[Chat, Sequence[Message]], None] = _ignore
    """Called after ``on_commit`` with each chat that was made, and the messages that people see of it."""
    on_admit: Callable[[UUID, int, str], None] = _ignore
    """Called with the id, the version and the owner of each held chat that may be claimed now."""
    on_delete: Callable[[UUID, int, str], None] = _ignore
    """Called with the id, the last version and the owner of each deleted chat."""
    on_flush: Callable[[UUID], None] = _ignore
    """Called with the id of each chat whose live parts were stored."""
    on_family_idle: Callable[[UUID], None] = _ignore
    """Called with the root of each family of which a chat may wait no longer for another."""
    on_replay: Callable[[], None] = _ignore
    """Called when a repeated request was answered without being executed again."""

    def committed(
        self, row: Row, transition: Transition, worker_id: UUID | None = None
    ) -> TransitionResult:
        """Report a committed transition and return its result.

        All stores make their results here, so that no transition is left unreported.
        """
        result = self._reported(results.transition_result(row, transition, worker_id))
        if transition is Transition.CREATE:
            self.on_create(result.chat, result.messages)
        self.admitted(row, result.chat.owner_id)
        return result

    def admitted(self, row: Row, owner_id: str) -> None:
        """Report the held chat of an owner that the statement of ``row`` admitted, if there is one."""
        if (admitted_id := row.get("admitted_id")) is not None:
            self.on_admit(admitted_id, row["admitted_version"], owner_id)

    def committed_with_claim(
        self,
        row: Row,
        transition: Transition,
        worker_id: UUID,
        start: Callable[[TransitionResult, TransitionResult], None],
    ) -> TransitionResult:
        """Report a caller's transition and the claim that the same statement made. Return the former.

        ``start`` is called with the results of both, and starts the turn. Its task thus runs before those
        of the subscribers that the report wakes, and they send the first parts with the entries.
        """
        result, claim = results.results_with_claim(row, transition, worker_id)
        start(result, claim)
        entries = [each.entry for each in (result, claim) if each.entry is not None]
        self.on_commit(entries, claim.chat.owner_id)
        return result

    def replayed(self, row: Row, transition: Transition, content: Content) -> TransitionResult:
        """Report a repeated request with this ``content`` and return its result."""
        self.on_replay()
        return self._reported(results.replayed_result(row, transition, content))

    def _reported(self, result: TransitionResult) -> TransitionResult:
        if result.entry is not None:
            self.on_commit([result.entry], result.chat.owner_id)
            if may_end_wait(result.chat):
                self.on_family_idle(result.chat.root_chat_id)
        return result


def may_end_wait(chat: Chat) -> bool:
    """Return whether a chat's wait for others may be over: one of these is idle, or it begins to wait."""
    if chat.status is Status.PARKED:
        return True
    return chat.parent_chat_id is not None and chat.status in IDLE


NO_LISTENER: Final = CommitListener()
