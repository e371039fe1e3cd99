"""A leased chat: its fencing token, local lease deadline and cancel scope."""

from enum import StrEnum

from chatd.domain.chat import Chat
from chatd.domain.errors import LeaseLost
from chatd.store.leases import ActivityReport
from chatd.store.turns import FencingToken
from chatd.supervision.progress import CancelScopeWithCause, Progress
from chatd.worker.clock import boottime


class Cause(StrEnum):
    """Reason for cancelling a chat's task. A cancellation without one is a bug."""

    INTERRUPTED = "interrupted"
    SHUTDOWN = "shutdown"
    LOST = "lost"


class Lease:
    """One chat that this process holds, as far as it knows.

    ``renewed_at`` is when the statement that last confirmed the lease was *sent*. The lease is valid for
    ``local_lease_seconds`` from then, which is less than other workers wait before they reap the chat.
    """

    def __init__(self, chat: Chat, *, renewed_at: float, local_lease_seconds: float) -> None:
        assert chat.worker_id is not None  # noqa: S101 - a claim sets it
        self.chat = chat
        self.fence = FencingToken(chat.id, chat.worker_id, chat.epoch)
        self.renewed_at = renewed_at
        self.progress = Progress()
        self.cause: Cause | None = None
        self.transition_in_flight = False
        """Set while a transition is on its way: its result, not a renewal, says if the lease is lost."""
        self._local_lease_seconds = local_lease_seconds
        self._scope: CancelScopeWithCause[Cause] | None = None

    @property
    def remaining_seconds(self) -> float:
        """Seconds for which no other worker can have the chat. Negative: expired."""
        return self.renewed_at + self._local_lease_seconds - boottime()

    @property
    def expected_version(self) -> int:
        """The newest version of the chat that this process expects, with a transition in flight.

        If a caller's transition has taken that version, the fencing token refuses the one in flight.
        """
        return self.chat.version + self.transition_in_flight

    def ensure_valid(self) -> None:
        """Raise ``LeaseLost`` if the lease has expired. Call it before what must not happen twice."""
        if self.cause is Cause.LOST or self.remaining_seconds <= 0:
            raise LeaseLost(chat_id=self.fence.chat_id, epoch=self.fence.epoch)

    def log_context(self) -> dict[str, object]:
        """Return the fields that every log line of this chat's task carries."""
        return {
            "chat_id": self.fence.chat_id,
            "epoch": self.fence.epoch,
            "worker_id": self.fence.worker_id,
        }

    def activity(self) -> ActivityReport:
        """Return what a heartbeat reports of this chat: the stage of its task, and no content."""
        progress = self.progress.snapshot()
        if progress.stage is None:
            return ActivityReport(self.fence.chat_id, self.fence.epoch)
        return ActivityReport(
            self.fence.chat_id,
            self.fence.epoch,
            progress.stage,
            progress.stage_age_seconds,
            progress.deadline_in_seconds,
        )

    def cancel(self, cause: Cause) -> None:
        """Cancel the task. The first cause counts, except that ``LOST`` replaces any other."""
        if self.cause is None or cause is Cause.LOST:
            self.cause = cause
        if self._scope is not None:
            self._scope.cancel(cause)

    def scope(self) -> CancelScopeWithCause[Cause]:
        """Return the cancel scope for one turn. It is cancelled at once if there is a cause already."""
        self._scope = CancelScopeWithCause()
        if self.cause is not None:
            self._scope.cancel(self.cause)
        return self._scope

    def clear_interrupt(self) -> None:
        """Forget an interrupt that was handled, or that came after the turn ended. Other causes stay."""
        self._scope = None
        if self.cause is Cause.INTERRUPTED:
            self.cause = None
