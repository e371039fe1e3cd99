"""Differences between the versions of the AI SDK."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Version:
    """A major version of the package ``ai``, as far as its streams differ."""

    number: int
    resets_steps: bool
    """True if it takes back a step that became void."""
    interrupts: bool
    """True if it knows the finish reason ``interrupted``. Others get an ``abort``."""
    approves: bool
    """True if it asks people whether a tool may run."""
    follows: bool
    """True if a resumed stream may have several messages."""
    has_finish_reason: bool


VERSIONS: Final = {
    f"v{version.number}": version
    for version in (
        Version(5, False, False, False, False, False),
        Version(6, False, False, True, True, True),
        Version(7, True, True, True, True, True),
    )
}
LATEST: Final = VERSIONS["v7"]
