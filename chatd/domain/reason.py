"""A reason for a chat's state: a code for programs, and a text for people."""

from dataclasses import dataclass
from enum import StrEnum


class ReasonCode(StrEnum):
    """A reason, for programs. Several may hold at once; the most important one comes first."""

    IDLE = "idle"
    ARCHIVED = "archived"
    HELD = "held"
    NO_WORKER = "no_worker"
    MODEL_UNSERVED = "model_unserved"
    NO_FREE_SLOTS = "no_free_slots"
    CHATS_AHEAD = "chats_ahead"
    CLAIM_EXPECTED = "claim_expected"
    LEASE_EXPIRED = "lease_expired"
    STOPPING = "stopping"
    BACKING_OFF = "backing_off"
    IN_STAGE = "in_stage"
    TOOL_CALLS_RUNNING = "tool_calls_running"
    BETWEEN_STEPS = "between_steps"
    ACTIVITY_UNKNOWN = "activity_unknown"
    AWAITING_APPROVAL = "awaiting_approval"
    AWAITING_INPUT = "awaiting_input"
    AWAITING_TOOL_RESULTS = "awaiting_tool_results"
    AWAITING_AGENTS = "awaiting_agents"
    FAILED = "failed"
    STATUS_UNKNOWN = "status_unknown"
    RECOVERED = "recovered"
    MESSAGES_QUEUED = "messages_queued"
    COMPACTION_REQUESTED = "compaction_requested"
    EXPIRES = "expires"


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason: a code for programs, a text for people."""

    code: ReasonCode
    text: str
