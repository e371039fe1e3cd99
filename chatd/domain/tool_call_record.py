"""Rows of the ledger of tool calls as callers read them."""

from dataclasses import dataclass
from datetime import datetime

from chatd.domain.tool_call import CallPolicy, CallState, Executor


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallRecord:
    """A call that a model made, and what became of it. ``now`` is the time of the read."""

    message_id: int
    tool_call_id: str
    tool_name: str
    executor: Executor
    policy: CallPolicy
    state: CallState
    tries: int
    is_error: bool | None
    started_at: datetime
    completed_at: datetime | None
    now: datetime

    @property
    def seconds(self) -> float:
        """Time from the start of the call, or since it waits, to its result or until now."""
        return max(((self.completed_at or self.now) - self.started_at).total_seconds(), 0)
