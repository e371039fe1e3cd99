"""Limits of a turn."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnLimits:
    """Deadlines of the stages of a turn, and the number of its steps."""

    stream_idle_timeout_seconds: float
    """Longest silence of a model's stream."""
    model_call_timeout_seconds: float
    """Longest duration of one model call."""
    timeout_seconds: float
    """Longest duration of the turn."""
    client_tool_timeout_seconds: float
    """Time that a client has to run its tools."""
    max_steps: int
    """Model calls that one turn may make."""
