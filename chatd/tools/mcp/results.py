"""Results of tool calls: text that a model reads, and images.

Other bytes are named with their type and size: a result has no place for them.
"""

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from chatd.domain.files import File, whole_image
from chatd.domain.sanitize import replace_unstorable
from chatd.tools.output import json_text
from chatd.tools.tool import MAX_FILES, ToolOutcome

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
    files: list[File] = []
    texts = list(_texts(parts[:_MAX_PARTS], files))
    if len(parts) > _MAX_PARTS:
        texts.append(f"[{len(parts) - _MAX_PARTS} more parts are not shown]")
    structured = raw.get("structuredContent")
    if structured is not None and not _is_repeated(structured, parts):
        texts.append(json_text(structured))
    return ToolOutcome(
        text=replace_unstorable("\n".join(texts)),
        is_error=raw.get("isError") is True,
        files=files,
    )


def _texts(parts: list[Any], files: list[File]) -> Iterator[str]:
    """Yield the texts of the parts. Add the images to ``files``."""
    for part in parts:
        match part:
            case {"type": "image", "data": str(data)}:
                yield _image(_shown(part.get("mimeType", "")), data, files)
            case {"type": "resource", "resource": {"mimeType": str(kind), "blob": str(blob)}} if (
                kind.startswith("image/")
            ):
                yield _image(_shown(kind), blob, files)
            case {"type": "text", "text": str(text)}:
                yield text
            case {"type": "resource_link", "uri": str(uri)}:
                yield f"[resource {_shown(part.get('name', ''))}: {_shown(uri)}]"
            case {"type": "resource", "resource": {"text": str(text)}}:
                yield text
            case {"type": "resource", "resource": {"uri": str(uri), "blob": str(blob)}}:
                yield f"[resource {_shown(uri)}: {_byte_count(blob)} bytes, not shown]"
            case {"type": "audio", "data": str(data)}:
                media_type = _shown(part.get("mimeType", ""))
                yield f"[audio of type {media_type}: {_byte_count(data)} bytes, not shown]"
            case {"type": str(kind)}:
                yield f"[a part of kind {_shown(kind)}, which this server does not know]"
            case _:
                yield "[a part without a kind]"


def _image(media_type: str, data: str, files: list[File]) -> str:
    """Add an image to ``files``, and return the words that stand for it."""
    words = f"image of type {media_type}: {_byte_count(data)} bytes"
    if len(files) >= MAX_FILES:
        return f"[{words}, one of too many]"
    try:
        file = whole_image(base64.b64decode(data, validate=True))
    except ValueError:
        file = None
    if file is None:
        return f"[{words}, which cannot be shown]"
    files.append(file)
    return f"[image {len(files)} of type {file.media_type}: {len(file.data)} bytes]"


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
