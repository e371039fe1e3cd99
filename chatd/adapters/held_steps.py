"""The header by which a client has each step sent when it is stored, and never taken back."""

from typing import Final

from starlette.types import Scope

from chatd.api.request.headers import Header, header_value

_BUFFER: Final = "buffer"
_VOIDS: Final = Header(
    "x-chatd-voids",
    "`buffer`: send each step when it is stored.",
    {"type": "string", "maxLength": 255},
)


def holds_steps(scope: Scope) -> bool:
    """Return whether steps are held back until they are stored."""
    return header_value(scope, _VOIDS) == _BUFFER
