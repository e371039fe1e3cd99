"""Transcript: messages as text, for the model that writes a summary of them. Pure.

What is said in a chat could look like the end of the transcript, or like an instruction of ours. So our
tags are made harmless in it.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from chatd.domain.message import Message, Part, Role
from chatd.domain.request_size import BYTES_PER_TOKEN, result_text, text_tokens

TAGS: Final = (
    "transcript",
    "user",
    "assistant",
    "call",
    "result",
    "previous-summary",
    "summary",
    "request",
    "instructions",
)
"""The tags that stand around texts of a chat."""
_TAG: Final = re.compile(rf"<(?=\s*/?\s*(?:{'|'.join(TAGS)})\b)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class TranscriptLimits:
    """Characters of what is long in a transcript, and tokens of all of it."""

    result: int
    args: int
    tokens: int | None = None
    """Tokens of the transcript. Of a longer one the oldest messages are left out. None: no limit."""


FULL: Final = TranscriptLimits(result=2000, args=2000)
PRUNED: Final = TranscriptLimits(result=0, args=200)


def harmless(text: str) -> str:
    """Return a text in which no tag of ours stands."""
    return _TAG.sub("&lt;", text)


def shortened(text: str, length: int) -> str:
    """Return the head and the tail of a text that is too long."""
    if len(text) <= length:
        return text
    head = length * 2 // 3
    tail = length - head
    return f"{text[:head]}\n[… {len(text) - length} characters …]\n{text[len(text) - tail :]}"


def transcript(messages: Sequence[Message], limits: TranscriptLimits) -> str:
    """Return messages as text, oldest first."""
    rendered = [text for one in messages if (text := _rendered(one, limits))]
    if limits.tokens is None:
        return "\n".join(rendered)
    kept: list[str] = []
    left = limits.tokens
    for text in reversed(rendered):
        left -= text_tokens(text)
        if left < 0:
            break
        kept.append(text)
    if not kept and rendered:  # one message alone is too long
        kept = [shortened(rendered[-1], max(limits.tokens * BYTES_PER_TOKEN // 2, 1))]
    left_out = len(rendered) - len(kept)
    if left_out:
        kept.append(f"[the oldest {left_out} messages are left out]")
    return "\n".join(reversed(kept))


def _rendered(message: Message, limits: TranscriptLimits) -> str:
    parts = [text for part in message.content if (text := _rendered_part(part, limits))]
    if message.role is Role.TOOL or not parts:
        return "\n".join(parts)
    return "\n".join((f"<{message.role}>", *parts, f"</{message.role}>"))


def _rendered_part(part: Part, limits: TranscriptLimits) -> str:
    match part["type"]:
        case "text":
            return harmless(part["text"]).strip()
        case "file":
            return _rendered_file(part)
        case "tool-call":
            args = harmless(shortened(part.get("args") or "", limits.args))
            return f'<call tool="{harmless(part["tool_name"])}">{args}</call>'
        case "tool-result":
            return _rendered_result(part, limits)
    return ""  # reasoning, and what only its provider reads


def _rendered_result(part: Part, limits: TranscriptLimits) -> str:
    text = result_text(part.get("result"))
    shown = harmless(shortened(text, limits.result)) if limits.result else f"{len(text)} characters"
    failed = ' failed="yes"' if part.get("is_error") else ""
    lines = [shown, *map(_rendered_file, part.get("files") or ())]
    name = harmless(part["tool_name"])
    return f'<result tool="{name}"{failed}>' + "\n".join(lines) + "</result>"


def _rendered_file(part: Part) -> str:
    name = part.get("name") or part.get("media_type") or "unnamed"
    return f"[file: {harmless(str(name))}]"


def text_with_files(messages: Iterable[Message]) -> str:
    """Return what the user said in these messages, with the names of files."""
    parts = (part for message in messages for part in message.content)
    return "\n\n".join(
        text
        for part in parts
        if (text := _rendered_part(part, FULL)) and part["type"] != "tool-result"
    )
