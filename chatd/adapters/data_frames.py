"""Server-sent events that have data and nothing else, as two of the dialects send them."""

from typing import Any, Final

from pydantic_core import to_json

DONE: Final = b"data: [DONE]\n\n"
"""The last frame of a stream that was not cut."""


def data_frame(value: Any) -> bytes:
    """Return a value on the wire. JSON escapes line breaks, so it is one line."""
    return b"data: %b\n\n" % to_json(value)
