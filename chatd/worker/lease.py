"""A chat in hand: whose it is, how long that is certain, and how to make its task stop."""

from enum import StrEnum

from chatd.domain.chat import Chat
from chatd.domain.errors import LeaseLost
from chatd.store.leases import ActivityReport
from chatd.store.turns import FencingToken
from chatd.supervision.progress import CancelScopeWithCause, Progress
from chatd.worker.clock import boottime


class Cause(StrEnum):
    """Why a chat's task was cancelled. A cancellation without one is a bug."""

    INTERRUPTED = "interrupted"
    SHUTDOWN = "shutdown"
    LOST = "lost"


class Lease:
    """One chat that this process owns, as far as it knows.

    ``renewed_at`` is when the statement that last confirmed the ownership was *sent*; the lease is
    good for ``local_lease_seconds`` from then, which is less than what the others grant.
    """

    def __init__(self, chat: Chat, *, renewed_at: float, local_lease_seconds: float) -> None:
        assert chat.worker_id is not None  # noqa: S101 - a chat in hand has an owner
        self.chat = chat
        self.fence = FencingToken(chat.id, chat.worker_id, chat.epoch)
        self.renewed_at = renewed_at
        self.progress = Progress()
        self.cause: Cause | None = None
        self.transition_in_flight = False
        """Whether a move of its own is under way: that one's answer says whose the chat is."""
        self._local_lease_seconds = local_lease_seconds
        self._scope: CancelScopeWithCause[Cause] | None = None

    @property
    def remaining_seconds(self) -> float:
        """Seconds for which the chat is certainly this process's own."""
        return self.renewed_at + self._local_lease_seconds - boottime()

    def ensure_valid(self) -> None:
        """Raise ``LeaseLost`` when the lease is up: asked before anything that must not be done twice."""
        if self.cause is Cause.LOST or self.remaining_seconds <= 0:
            raise LeaseLost(chat_id=self.fence.chat_id, epoch=self.fence.epoch)

    def log_context(self) -> dict[str, object]:
        """What every log line of this chat's task carries."""
        return {
            "chat_id": self.fence.chat_id,
            "epoch": self.fence.epoch,
            "worker_id": self.fence.worker_id,
        }

    def activity(self) -> ActivityReport:
        """What a beat says of this chat: where its task is, and nothing of what is said there."""
        at = self.progress.snapshot()
        if at.stage is None:
            return ActivityReport(self.fence.chat_id, self.fence.epoch)
        return ActivityReport(
            self.fence.chat_id,
            self.fence.epoch,
            at.stage,
            at.stage_age_seconds,
            at.deadline_in_seconds,
        )

    def cancel(self, cause: Cause) -> None:
        """Make the task stop, and tell it why. The first cause counts, but lost is lost."""
        if self.cause is None or cause is Cause.LOST:
            self.cause = cause
        if self._scope is not None:
            self._scope.cancel(cause)

    def scope(self) -> CancelScopeWithCause[Cause]:
        """A scope to work one turn in; a cause that is known already cancels it at once."""
        self._scope = CancelScopeWithCause()
        if self.cause is not None:
            self._scope.cancel(self.cause)
        return self._scope

    def clear_interrupt(self) -> None:
        """The interrupt was dealt with, or came when the turn was over; other causes stay."""
        self._scope = None
        if self.cause is Cause.INTERRUPTED:
            self.cause = None
