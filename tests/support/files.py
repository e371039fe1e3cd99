"""Files of messages that no database has, and files as clients send them."""

import base64
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from chatd.domain.files import FileSpan, new_file
from chatd.domain.message import Part

PNG = b"\x89PNG\r\n\x1a\n"


def whole_png(size: int = 100) -> bytes:
    """Return bytes that begin and end as a PNG does."""
    return PNG + bytes(size - len(PNG) - 8) + b"IEND\xaeB`\x82"


_files: dict[UUID, bytes] = {}


def file_part(media_type: str, data: bytes, *, name: str | None = None) -> Part:
    """Return the part of a message for a file that ``read_files`` finds."""
    file = new_file(data, media_type=media_type, name=name)
    _files[file.id] = data
    return file.reference()


async def read_files(spans: Sequence[FileSpan]) -> Sequence[bytes]:
    """Return bytes of files that ``file_part`` has made."""
    return [_files[span.file_id][span.offset : span.offset + span.length] for span in spans]


def file_input(media_type: str, data: bytes, **more: Any) -> dict[str, Any]:
    """Return a file as a client sends it."""
    encoded = base64.b64encode(data).decode()
    return {"type": "file", "media_type": media_type, "data": encoded, **more}


def as_input(part: Part) -> dict[str, Any]:
    """Return a part of a message as a client would send it."""
    if part["type"] != "file":
        return dict(part)
    return file_input(part["media_type"], _files[UUID(part["file_id"])])
