"""How things end, in the words that logs, metrics and traces share."""

from enum import StrEnum


class Outcome(StrEnum):
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
    CUT = "cut"
    """The process was told to end at once, or its lease ran out: nothing was stored."""


class Fate(StrEnum):
    """How a worker lost a chat that it had in hand."""

    EDITED = "edited"
    DELETED = "deleted"
    REAPED = "reaped"
    """Others took it for dead."""
    EXPIRED = "expired"
    """It could not renew its lease in time, and stopped by itself."""
    UNKNOWN = "unknown"
    """The database was not there to be asked."""


class Reaped(StrEnum):
    """Why a chat was taken from its worker."""

    OWNER_GONE = "owner_gone"
    """The worker's lock was free: its process or its connection is gone."""
    LEASE_EXPIRED = "lease_expired"
    INTERRUPTING = "interrupting"
    """Either of them, after a stop was asked: its answer so far was stored."""


class StreamEnd(StrEnum):
    """Why a stream ended."""

    LEFT = "left"
    """Its reader left."""
    REVOKED = "revoked"
    """What its caller was let in with is not good any more."""
    GONE = "gone"
    """The chat was deleted."""
    SLOW = "slow"
    """Too much waited for its reader."""
    DRAINING = "draining"
    """The process stops."""
    CUT = "cut"
    """What comes next is not there to be shown, or the database was away."""
