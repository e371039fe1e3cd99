"""Limits of a turn, of the tools that it runs, and of the chats that it starts."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnLimits:
    """Deadlines of the stages of a turn, and the number of its steps."""

    stream_idle_timeout_seconds: float
    """Longest silence of a model's stream."""
    model_call_timeout_seconds: float
    """Longest duration of one model call."""
    compaction_timeout_seconds: float = 120.0
    """Longest duration of the call that writes a summary."""
    timeout_seconds: float
    """Longest duration of the turn."""
    client_tool_timeout_seconds: float
    """Time that a client has to run its tools."""
    max_steps: int
    """Model calls that one turn may make."""
    max_repeated_calls: int
    """Rounds of the same tool calls and results in a row. 0: any number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolLimits:
    """Limits of the tools that the server runs."""

    parallel: int
    """Calls of one message that run at once."""
    output_bytes: int
    """Bytes of a result. The middle of a longer one is left out."""
    approval_seconds: float
    """Time that people have to answer."""
    keep_bytes: int
    """Bytes of such a longer output that are kept for reading."""
    keep_days: float
    """Retention of what is kept."""

    def shown_bytes(self, window: int | None) -> int:
        """Return the bytes of a result for a model that reads ``window`` tokens. None: that is not known.

        A result takes a third of the window at most, at three bytes for a token.
        """
        return self.output_bytes if window is None else min(self.output_bytes, window)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentLimits:
    """Limits of the chats that models start."""

    enabled: bool
    """Models are offered the tools for it."""
    default: bool
    """True if chats have them that choose nothing of their kind."""
    max_depth: int
    """Generations below a chat that a person started."""
    max_children: int
    """Agents of one chat."""
    max_family: int
    """Chats of a family."""
    max_wait_seconds: float
    """Time of one wait."""
    max_answer_characters: int
    """Characters of answers in one result."""


NO_AGENTS: Final = AgentLimits(
    enabled=False,
    default=False,
    max_depth=1,
    max_children=1,
    max_family=2,
    max_wait_seconds=1.0,
    max_answer_characters=1,
)
"""Limits where no chat starts others."""
