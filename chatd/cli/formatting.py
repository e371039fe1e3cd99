"""Text for people: chats, messages and times."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from chatd.cli.tool_calls import call_text, result_text
from chatd.domain.duration import format_duration

if TYPE_CHECKING:
    from chatd.client import Chat, Part

DURATION_EXAMPLES = "15m, 1h30m, 90d"
"""Examples of durations, for help texts and errors."""

SHORT_ID = 8
"""Characters of an id that a table shows."""

CHAT_COLUMNS = ("CHAT", "STATUS", "UPDATED", "QUEUE", "MODEL", "TITLE")


def chat_row(chat: "Chat", now: datetime) -> tuple[str, ...]:
    """Return the cells of ``CHAT_COLUMNS``. The error of a failed chat follows its title."""
    title = " ".join(filter(None, (chat["title"], chat["last_error"])))
    return (
        chat["id"][:SHORT_ID],
        chat["status"],
        format_age(chat["updated_at"], now),
        str(chat["queue_length"] or "-"),
        chat["model"] or "-",
        title or "-",
    )


def chat_rows(
    chats: "Sequence[Chat]", now: datetime, *, tree: bool = False
) -> list[tuple[str, ...]]:
    """Return a row for each chat. In a tree, chats follow the one that started them, if it is there."""
    if not tree:
        return [chat_row(chat, now) for chat in chats]
    ids = {chat["id"] for chat in chats}
    below: dict[str | None, list[Chat]] = {}
    for chat in chats:
        parent = chat["parent_chat_id"]
        below.setdefault(parent if parent in ids else None, []).append(chat)
    rows: list[tuple[str, ...]] = []
    waiting = [(chat, 0) for chat in reversed(below.get(None, []))]
    while waiting:
        chat, depth = waiting.pop()
        chat_id, *cells = chat_row(chat, now)
        rows.append(("  " * depth + chat_id, *cells))
        waiting += [(child, depth + 1) for child in reversed(below.get(chat["id"], []))]
    return rows


def format_age(timestamp: str, now: datetime) -> str:
    """Return how long ago a time was, in its largest unit."""
    age = now - datetime.fromisoformat(timestamp)
    return format_duration(max(age.total_seconds(), 0), units=1)


def local_time(timestamp: str) -> str:
    """Return a time in the zone of this machine, with its date unless that is today."""
    moment = datetime.fromisoformat(timestamp).astimezone()
    today = moment.date() == datetime.now(UTC).astimezone().date()
    return f"{moment:%H:%M}" if today else f"{moment:%Y-%m-%d %H:%M}"


def utc_now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


def plain_text(content: "Sequence[Part]") -> str:
    """Return the text of a message, with its other parts in brackets."""
    return "\n".join(filter(None, map(_part_text, content)))


def _part_text(part: "Part") -> str:
    if part["type"] == "text":
        return part["text"]
    if part["type"] == "tool-call" or part["type"] == "native-tool-call":
        return f"[calls {call_text(part['tool_name'], part['args'])}]"
    if part["type"] == "tool-result" or (
        part["type"] == "native-tool-result" and part.get("is_error")
    ):
        text = result_text(part["result"], is_error=part.get("is_error", False))
        return f"[{part.get('tool_name') or 'tool'}: {text}]"
    if part["type"] == "file":
        name = part.get("name") or "a file"
        return f"[{name}, {part.get('media_type')}, {part.get('size')} bytes]"
    if part["type"] == "compaction":
        return f"[compacted: a summary, about {part['after_tokens']} tokens of {part['before_tokens']}]"
    return ""
