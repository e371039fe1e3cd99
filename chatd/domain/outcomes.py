"""How things end, in the words that logs, metrics and traces share."""

from enum import StrEnum


class TurnOutcome(StrEnum):
    """How one turn in hand ended."""

    FINISHED = "finished"
    REQUIRES_ACTION = "requires_action"
    """The client is to run tools, and another turn goes on with what they return."""
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    RELEASED = "released"
    """Given back, because this process stops."""
    LOST = "lost"
    PANICKED = "panicked"
    ABORTED = "aborted"
    """The process was told to end at once, or its lease ran out: nothing was stored."""


class LossReason(StrEnum):
    """How a worker lost a chat that it had in hand."""

    EDITED = "edited"
    DELETED = "deleted"
    REAPED = "reaped"
    """Others took it for dead."""
    EXPIRED = "expired"
    """It could not renew its lease in time, and stopped by itself."""
    UNKNOWN = "unknown"
    """The database was not there to be asked."""


class ReapReason(StrEnum):
    """Why a chat was taken from its worker."""

    WORKER_DEAD = "worker_dead"
    """The worker's lock was free: its process or its connection is gone."""
    LEASE_EXPIRED = "lease_expired"
    INTERRUPTING = "interrupting"
    """Either of them, after a stop was asked: its answer so far was stored."""


class StreamEndReason(StrEnum):
    """Why a stream ended."""

    CLIENT_DISCONNECTED = "client_disconnected"
    """Its reader left."""
    REVOKED = "revoked"
    """What its caller was let in with is not good any more."""
    CHAT_DELETED = "chat_deleted"
    """The chat was deleted."""
    SLOW_CONSUMER = "slow_consumer"
    """Too much waited for its reader."""
    DRAINING = "draining"
    """The process stops."""
    ABORTED = "aborted"
    """What comes next is not there to be shown, or the database was away."""
