"""Link: what is known of one connection to a server, for its actor and its transport."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from chatd.tools.mcp.intake import Intake

MAX_ERROR_OUTPUT_BYTES: Final = 2048
"""Bytes of a program's standard error that are kept: its end."""


def _ignore_end() -> None:
    """Do nothing: nobody waits for the end."""


@dataclass(slots=True)
class Link:
    """State of one connection. The transport ends it when the server does, with a reason in words."""

    intake: Intake = field(default_factory=Intake)
    on_end: Callable[[], None] = _ignore_end
    ended: bool = False
    reason: str = ""
    """Why the connection ended, or the last refusal of an HTTP server."""
    error_output: bytes = b""
    """The end of what a program wrote to its standard error."""

    def forget_refusal(self) -> None:
        """Forget the last refusal, because another request was answered since."""
        if not self.ended:
            self.reason = ""

    def end(self, reason: str) -> None:
        """Record that nothing more will arrive. The first reason counts."""
        if not self.ended:
            self.ended = True
            self.reason = reason
            self.on_end()
