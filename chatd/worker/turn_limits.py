"""Limits of a turn, and of the tools that it runs."""

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
