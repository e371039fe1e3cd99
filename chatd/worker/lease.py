"""A leased chat: its fencing token, local lease deadline and cancel scope."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from uuid import UUID

import anyio

from chatd.domain.chat import Chat
from chatd.domain.errors import LeaseLost
from chatd.store.leases import ActivityReport
from chatd.store.turns import FencingToken
from chatd.supervision.progress import CancelScopeWithCause, Progress
from chatd.worker.clock import boottime
from chatd.worker.worker_lease import WorkerLease

SHUTDOWN_SECONDS = 5.0
"""Time for storing the result of a turn that is cancelled because the process stops."""


class Cause(StrEnum):
    """Reason for cancelling a chat's task. A cancellation without one is a bug."""

    INTERRUPTED = "interrupted"
    SHUTDOWN = "shutdown"
    LOST = "lost"


class Lease:
    """One chat that this process holds, as far as it knows.

    ``renewed_at`` is when the statement was *sent* that last confirmed the worker's lease and that the chat
    is part of it.
    """

    def __init__(self, chat: Chat, *, worker_lease: WorkerLease) -> None:
        assert chat.worker_id is not None  # noqa: S101 - a claim sets it
        self.chat = chat
        self.fence = FencingToken(chat.id, chat.worker_id, chat.epoch)
        self.renewed_at = worker_lease.renewed_at
        self.progress = Progress()
        self.reported_revision: int | None = None
        """The revision of ``progress`` that was last stored as the chat's activity."""
        self.cause: Cause | None = None
        self.overdue_seconds: float | None = None
        """Time for which the watchdog has seen that the task should have ended. None: it need not yet."""
        self.transition_in_flight = False
        """Set while a transition is on its way: its result, not a renewal, says if the lease is lost."""
        self._worker_lease = worker_lease
        self._scope: CancelScopeWithCause[Cause] | None = None
        self._stop_scope: anyio.CancelScope | None = None

    @property
    def key(self) -> tuple[UUID, int]:
        """The chat and the epoch, which name this lease among all of the worker."""
        return self.fence.chat_id, self.fence.epoch

    @property
    def is_overdue(self) -> bool:
        """True if the task should have ended: it was cancelled, or a stage of it is over.

        While it stores the result of a cancelled turn it has the time of ``stop_scope``, which may begin
        late: a statement that is under way is left to the task.
        """
        if self._stop_scope is not None:
            return anyio.current_time() > self._stop_scope.deadline
        seconds_left = self.progress.snapshot().deadline_in_seconds
        return self.cause is not None or (seconds_left is not None and seconds_left < 0)

    @property
    def remaining_seconds(self) -> float:
        """Seconds for which no other worker can have the chat. Negative: expired."""
        return self.renewed_at + self._worker_lease.local_lease_seconds - boottime()

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

    async def wait_until_held(self) -> None:
        """Wait while the heartbeat has no connection: the lease may be lost, or a stop requested."""
        await self._worker_lease.wait_until_held()

    def log_context(self) -> dict[str, object]:
        """Return the fields that every log line of this chat's task carries."""
        return {
            "chat_id": self.fence.chat_id,
            "epoch": self.fence.epoch,
            "worker_id": self.fence.worker_id,
        }

    def activity(self) -> ActivityReport:
        """Return what is reported of this chat: the stage of its task, and no content."""
        progress = self.progress.snapshot()
        return ActivityReport(
            self.fence.chat_id,
            self.fence.epoch,
            progress.stage,
            progress.stage_age_seconds if progress.stage else None,
            progress.deadline_in_seconds,
            progress.seconds_since_progress,
        )

    def cancel(self, cause: Cause) -> None:
        """Cancel the task. The first cause counts, except that ``LOST`` replaces any other.

        A task that is storing its result is left to it, unless the lease is lost.
        """
        if self.cause is None or cause is Cause.LOST:
            self.cause = cause
        if self._scope is not None:
            self._scope.cancel(cause)
        if self._stop_scope is not None and cause is not Cause.INTERRUPTED:
            seconds = SHUTDOWN_SECONDS if cause is Cause.SHUTDOWN else 0.0
            deadline = anyio.current_time() + seconds
            self._stop_scope.deadline = min(self._stop_scope.deadline, deadline)

    def scope(self) -> CancelScopeWithCause[Cause]:
        """Return the cancel scope for one turn. It is cancelled at once if there is a cause already."""
        self._scope = CancelScopeWithCause()
        if self.cause is not None:
            self._scope.cancel(self.cause)
        return self._scope

    @contextmanager
    def stop_scope(self, cause: Cause | None) -> Iterator[anyio.CancelScope]:
        """Shield the body, which stores the result of a cancelled turn, from the cancellation.

        The result of an interrupt may take the rest of the lease, so that an outage does not throw away
        what was streamed. While the process stops it has ``SHUTDOWN_SECONDS``.
        """
        seconds = SHUTDOWN_SECONDS
        if cause is Cause.INTERRUPTED and self.cause in {None, Cause.INTERRUPTED}:
            seconds = self.remaining_seconds
        with anyio.move_on_after(max(seconds, 0.0), shield=True) as scope:
            self._stop_scope = scope
            try:
                yield scope
            finally:
                self._stop_scope = None

    def clear_interrupt(self) -> None:
        """Forget an interrupt that was handled, or that came after the turn ended. Other causes stay."""
        self._scope = None
        if self.cause is Cause.INTERRUPTED:
            self.cause = None
