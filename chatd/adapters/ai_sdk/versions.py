"""What the versions of the AI SDK differ in."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Version:
    """A major version of the package ``ai``, as far as its streams differ."""

    number: int
    resets_steps: bool
    """It takes back a step that became void."""
    interrupts: bool
    """It knows the finish reason ``interrupted``. Others are told ``abort``."""
    approves: bool
    """It asks people whether a tool may run."""
    follows: bool
    """A resumed stream may have several messages."""
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
