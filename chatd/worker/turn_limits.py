"""What a turn may take."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnLimits:
    """How long the parts of a turn may take, in seconds, and how many steps it may have."""

    stream_idle_timeout_seconds: float = 60.0
    """For a stream that says nothing."""
    model_call_timeout_seconds: float = 600.0
    """For one call of a model."""
    timeout_seconds: float = 3600.0
    client_tool_timeout_seconds: float = 300.0
    """For a client to run its tools."""
    max_steps: int = 50
