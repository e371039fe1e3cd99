"""Messages as they are shown: their parts in an order for readers, and texts as HTML."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from markupsafe import Markup

from chatd.console import markdown

_MAX_RENDERED: Final = 256 * 1024
"""Characters of one page that are rendered. Others are shown as they are, so that it takes no second."""

_OPTIONAL: Final[Mapping[str, Any]] = {
    "args": "",
    "files": (),
    "is_error": False,
    "name": None,
    "output_bytes": 0,
    "result": None,
    "text": "",
    "title": None,
    "tool_name": None,
    "url": None,
}
"""Fields that a part may lack."""

_SPEAKERS: Final = {"user": "You", "assistant": "Assistant", "tool": "Tools", "system": "System"}


@dataclass(frozen=True, slots=True)
class ShownPart:
    """A part of a message, and its text as HTML if it has one."""

    kind: str
    part: Mapping[str, Any]
    html: Markup


@dataclass(frozen=True, slots=True)
class ShownMessage:
    """A message with its parts."""

    id: int
    role: str
    speaker: str
    message: Mapping[str, Any]
    parts: Sequence[ShownPart]


def show_messages(messages: Sequence[Mapping[str, Any]]) -> list[ShownMessage]:
    """Return messages to show, the newest ones rendered first if there is too much text."""
    left = _MAX_RENDERED
    shown: list[ShownMessage] = []
    for message in reversed(messages):
        parts = []
        for part in message["content"]:
            text = part.get("text", "")
            is_rendered = message["role"] == "assistant" and len(text) <= left
            left -= len(text) if is_rendered else 0
            html = markdown.render(text) if is_rendered else markdown.plain(text)
            parts.append(ShownPart(part["type"], {**_OPTIONAL, **part}, html))
        role = message["role"]
        shown.append(ShownMessage(message["id"], role, _SPEAKERS.get(role, role), message, parts))
    shown.reverse()
    return shown
