"""Outcomes and reasons, in the words that logs, metrics and traces share."""

from enum import StrEnum


class TurnOutcome(StrEnum):
    """The outcome of one turn of a leased chat."""

    FINISHED = "finished"
    REQUIRES_ACTION = "requires_action"
    """People or the client are to answer. Another turn continues then."""
    PARKED = "parked"
    """The chat waits for chats that it started. Another turn continues then."""
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    DEFERRED = "deferred"
    """The next attempt is due later. The turn continues then, on any worker."""
    RELEASED = "released"
    """Released back to pending, because this process stops."""
    LOST = "lost"
    PANICKED = "panicked"
    ABORTED = "aborted"
    """Nothing was stored: the process was stopped at once, or its lease expired."""


class CallPurpose(StrEnum):
    """The purpose of a call of a model."""

    ANSWER = "answer"
    TITLE = "title"
    SUMMARY = "summary"


class TitleOutcome(StrEnum):
    """The outcome of having a model write the title of a chat."""

    STORED = "stored"
    SUPERSEDED = "superseded"
    """A title was given meanwhile, or the chat was deleted."""
    UNUSABLE = "unusable"
    """The model wrote something else."""
    FAILED = "failed"
    """The call failed, or took too long."""
    DROPPED = "dropped"
    """Too many chats waited, the database was unavailable, or the model is not configured any more."""


class LossReason(StrEnum):
    """The reason why a worker lost a chat that it had leased."""

    EDITED = "edited"
    """A message was edited, or an answer is to be generated again."""
    DELETED = "deleted"
    REAPED = "reaped"
    """A reaper took the worker for dead."""
    EXPIRED = "expired"
    """The worker could not renew its lease in time, and stopped by itself."""
    UNKNOWN = "unknown"
    """The database was unavailable, so the worker could not read the reason."""


class ReapReason(StrEnum):
    """The reason why a reaper took a chat from its worker."""

    WORKER_DEAD = "worker_dead"
    """The worker's lock stayed free and it sent no heartbeat: its process has ended."""
    LEASE_EXPIRED = "lease_expired"
    """The worker has not renewed its lease. It may come back."""
    ABANDONED = "abandoned"
    """The worker gave the chat up: its task did not end when it was cancelled, or could not store why."""
    NO_TASK = "no_task"
    """Its worker had no task for it: its lease was over for a while, or a claim's response was lost."""
    INTERRUPTING = "interrupting"
    """A dead worker, by its lock or its lease, after a requested stop. The answer so far was stored."""


class StreamEndReason(StrEnum):
    """The reason why a stream ended."""

    CLIENT_DISCONNECTED = "client_disconnected"
    REVOKED = "revoked"
    """The credential that opened the stream expired or was revoked."""
    REPLACED = "replaced"
    """Its client opened it again on another connection, and the owner is at its limit."""
    CHAT_DELETED = "chat_deleted"
    SLOW_CONSUMER = "slow_consumer"
    """Too much was pending for the client."""
    DRAINING = "draining"
    """The process stops."""
    UNREADABLE = "unreadable"
    """The chat has data that this process cannot read."""
    ABORTED = "aborted"
    """The next journal entries were pruned, or the database was unavailable."""
    TURN_ENDED = "turn_ended"
    """A stream of one turn has sent all of it."""


class ToolOutcomeKind(StrEnum):
    """Outcome of a tool call."""

    ASKED = "asked"
    """The client was asked for its result, or a person about it."""
    DONE = "done"
    ERROR = "error"
    """The tool, or its arguments, failed."""
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    PANICKED = "panicked"
    UNKNOWN = "unknown"
    """A dead worker started it, and it may not start again."""
    NO_SUCH_TOOL = "no_such_tool"
    DENIED = "denied"
    """A rule denies it."""


class CompactionOutcome(StrEnum):
    """Outcome of a compaction, or of one try to summarize."""

    PRUNED = "pruned"
    """Old results of tools are shown as one line each."""
    SUMMARIZED = "summarized"
    REFUSED = "refused"
    """The summary was too long, or the request for it was."""
    NOTHING = "nothing"
    """A caller asked for it, and there was nothing to cover."""
    FAILED = "failed"
    """The turn failed, because nothing made the chat short enough."""
