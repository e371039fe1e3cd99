"""How chats and messages are put for people."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from chatd.domain.duration import format_duration

if TYPE_CHECKING:
    from chatd.client import Chat, Part

DURATION_EXAMPLES = "15m, 1h30m, 90d"
"""How people give a length of time, wherever they may."""

SHORT_ID = 8
"""Characters of an id that tell chats apart well enough for a table."""

CHAT_COLUMNS = ("CHAT", "STATUS", "TOUCHED", "QUEUE", "MODEL", "TITLE")


def chat_row(chat: "Chat", now: datetime) -> tuple[str, ...]:
    """The cells of ``CHAT_COLUMNS``; why a chat failed stands beside its title."""
    title = " ".join(filter(None, (chat["title"], chat["last_error"])))
    return (
        chat["id"][:SHORT_ID],
        chat["status"],
        format_age(chat["updated_at"], now),
        str(chat["queue_length"] or "-"),
        chat["model"] or "-",
        " ".join(title.split()) or "-",
    )


def format_age(timestamp: str, now: datetime) -> str:
    """Return how long ago a time was, in its largest unit."""
    age = now - datetime.fromisoformat(timestamp)
    return format_duration(max(age.total_seconds(), 0), units=1)


def utc_now() -> datetime:
    return datetime.now(UTC)


def plain_text(content: "Sequence[Part]") -> str:
    """What was said, with what is no text in brackets."""
    return "\n".join(filter(None, map(_part_text, content)))


def _part_text(part: "Part") -> str:
    match part["type"]:
        case "text":
            return part.get("text", "")
        case "tool-call":
            return f"[calls {part.get('tool_name')} {part.get('args', '')}]"
        case "tool-result":
            what = "failed with" if part.get("is_error") else "gave"
            return f"[{part.get('tool_name', 'tool')} {what} {part.get('result')}]"
        case "file":
            return f"[a file, {part.get('media_type')}]"
        case _:
            return ""
