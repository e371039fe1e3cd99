"""The facts about a chat that explain its state."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from chatd.domain.chat import LEASED, Status
from chatd.domain.tool_call_record import ToolCallRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerInfo:
    """The worker that holds a chat. Only its id is known after its row in ``workers`` was deleted."""

    worker_id: UUID
    host: str | None = None
    pid: int | None = None
    version: str | None = None
    started_at: datetime | None = None
    heartbeat_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """The stage of a chat that its worker reported with its last heartbeat, and its deadline."""

    epoch: int
    stage: str | None = None
    started_at: datetime | None = None
    deadline_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerCapacity:
    """The workers with a fresh heartbeat, and how many more chats those that have the model take."""

    alive: int
    with_model: int
    with_free_slots: int
    free_slots: int
    last_heartbeat_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AwaitedChat:
    """A chat that another one waits for. It has no status if it was deleted, or never was."""

    chat_id: UUID
    status: Status | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatDiagnostics:
    """All facts about a chat at ``now``, by the database's clock.

    ``chats_ahead`` is counted up to a bound.
    """

    now: datetime
    chat_id: UUID
    status: Status
    archived: bool
    epoch: int
    version: int
    updated_at: datetime
    queue_length: int
    recoveries: int
    attempts: int
    next_attempt_at: datetime | None
    last_failure: Mapping[str, Any] | None
    pending_since: datetime | None
    chats_ahead: int
    action_deadline: datetime | None
    worker: WorkerInfo | None
    heartbeat_at: datetime | None
    reported_activity: Activity | None
    workers: WorkerCapacity
    lease_seconds: float
    held: bool = False
    compaction_requested: bool = False
    expires_at: datetime | None = None
    trace_id: str | None = None
    """Id of the trace of the turn, or of the last one that was traced."""
    server_tools: Mapping[str, Sequence[str]] | None = None
    open_calls: Sequence[ToolCallRecord] = ()
    """Tool calls without a result, up to a bound."""
    asked: Mapping[str, int] = field(default_factory=dict)
    """Number of the calls that it waits for, by the kind of the question."""
    awaited: Sequence[AwaitedChat] = ()
    """The chats that it waits for, up to a bound."""
    awaits_any: bool = False
    """One of them is enough."""

    @property
    def activity(self) -> Activity | None:
        """The activity that the chat's worker reported. A former worker's report does not count."""
        is_current = (
            self.status in LEASED
            and self.reported_activity is not None
            and self.reported_activity.epoch == self.epoch
        )
        return self.reported_activity if is_current else None

    @property
    def lease_left_seconds(self) -> float | None:
        """Seconds until other workers may take the chat; negative when they may."""
        renewed_at = self.worker.heartbeat_at if self.worker else None
        if self.status not in LEASED or renewed_at is None:
            return None
        return self.lease_seconds - self.seconds_since(renewed_at)

    @property
    def is_backing_off(self) -> bool:
        """True while the chat waits for its next attempt."""
        return (
            self.attempts > 0
            and self.next_attempt_at is not None
            and self.next_attempt_at > self.now
        )

    def seconds_since(self, moment: datetime) -> float:
        """Return the seconds from ``moment`` to ``now``."""
        return (self.now - moment).total_seconds()
