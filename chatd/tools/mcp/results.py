"""Results of tool calls, as text that a model reads.

Images and other bytes are named with their type and size: the text of a result has no place for them.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from chatd.domain.sanitize import replace_unstorable
from chatd.tools.output import json_text
from chatd.tools.tool import ToolOutcome

_MAX_PARTS: Final = 1000
"""Parts of a result that are read."""
_MAX_SHOWN_LENGTH: Final = 1000
"""Characters of a name, a type or an address that are shown."""


def to_result(raw: Mapping[str, Any]) -> ToolOutcome:
    """Return the result of a call from the result of ``tools/call``."""
    if raw.get("resultType") == "input_required":
        return ToolOutcome(
            text="The tool asks for the input of a person, which this server does not support.",
            is_error=True,
        )
    content = raw.get("content")
    parts = content if isinstance(content, list) else []
    texts = list(_texts(parts[:_MAX_PARTS]))
    if len(parts) > _MAX_PARTS:
        texts.append(f"[{len(parts) - _MAX_PARTS} more parts are not shown]")
    structured = raw.get("structuredContent")
    if structured is not None and not _is_repeated(structured, parts):
        texts.append(json_text(structured))
    return ToolOutcome(
        text=replace_unstorable("\n".join(texts)), is_error=raw.get("isError") is True
    )


def _texts(parts: list[Any]) -> Iterator[str]:
    for part in parts:
        match part:
            case {"type": "text", "text": str(text)}:
                yield text
            case {"type": "resource_link", "uri": str(uri)}:
                yield f"[resource {_shown(part.get('name', ''))}: {_shown(uri)}]"
            case {"type": "resource", "resource": {"text": str(text)}}:
                yield text
            case {"type": "resource", "resource": {"uri": str(uri), "blob": str(blob)}}:
                yield f"[resource {_shown(uri)}: {_byte_count(blob)} bytes, not shown]"
            case {"type": "image" | "audio" as kind, "data": str(data)}:
                media_type = _shown(part.get("mimeType", ""))
                yield f"[{kind} of type {media_type}: {_byte_count(data)} bytes, not shown]"
            case {"type": str(kind)}:
                yield f"[a part of kind {_shown(kind)}, which this server does not know]"
            case _:
                yield "[a part without a kind]"


def _is_repeated(structured: Any, parts: list[Any]) -> bool:
    """Return whether a text says the same as the structured content, as the specification advises."""
    texts = [part["text"] for part in parts[:_MAX_PARTS] if _is_text(part)]
    same = [structured]
    if isinstance(structured, dict) and len(structured) == 1:
        same += structured.values()  # servers wrap what is no object, because it must be one
    return any(text in same or _parsed(text) in same for text in texts)


def _is_text(part: Any) -> bool:
    return (
        isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)
    )


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _shown(text: Any) -> str:
    return str(text)[:_MAX_SHOWN_LENGTH]


def _byte_count(base64: str) -> int:
    return len(base64) * 3 // 4
