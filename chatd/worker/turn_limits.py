"""What a turn may take."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnLimits:
    """How long the parts of a turn may take, in seconds, and how many steps it may have."""

    stream_idle_timeout_seconds: float
    """For a stream that says nothing."""
    model_call_timeout_seconds: float
    """For one call of a model."""
    timeout_seconds: float
    client_tool_timeout_seconds: float
    """For a client to run its tools."""
    max_steps: int
