"""Files of a chat: stored apart from its messages, which refer to them."""

import hashlib
import json
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias
from uuid import UUID

PIECE_BYTES: Final = 3 * 128 * 1024
"""Most bytes of files that one reader has in memory. Divisible by three, as the pieces of base64 are."""
_MAX_SPANS: Final = 200
"""Most files that one statement reads."""
_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)

_IMAGE_ENDS: Final = {"image/png": b"IEND", "image/jpeg": b"\xff\xd9", "image/gif": b";"}
_MAX_TRAILER_BYTES: Final = 64
"""Bytes at the end of an image that are searched for what ends it. Some writers add a few."""


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file to store.

    The id follows from the name, the media type and the bytes. So a chat stores the same file once, and
    what its URL answers never changes.
    """

    id: UUID
    media_type: str
    name: str | None
    data: bytes = field(repr=False)

    def reference(self) -> dict[str, Any]:
        """Return the content part that stands for this file in a message."""
        return file_reference(
            self.id, media_type=self.media_type, name=self.name, size=len(self.data)
        )


def file_reference(
    file_id: UUID, *, media_type: str, name: str | None, size: int
) -> dict[str, Any]:
    """Return the content part that stands for a file in a message."""
    return {
        "type": "file",
        "file_id": str(file_id),
        "media_type": media_type,
        "name": name,
        "size": size,
    }


def new_file(data: bytes, *, media_type: str, name: str | None = None) -> File:
    """Return a file. An image gets the media type that its bytes say, since providers refuse another."""
    if media_type.lower().startswith("image/"):
        media_type = _image_type(data) or media_type
    digest = hashlib.sha256(json.dumps([media_type, name]).encode())
    digest.update(data)
    return File(id=_uuid8(digest.digest()), media_type=media_type, name=name, data=data)


def whole_image(data: bytes) -> File | None:
    """Return an image as a file. None: it is of no kind that models read, or it has no end.

    A provider refuses a request with such an image, each time that the history is sent.
    """
    media_type = _image_type(data)
    if media_type is None or not _has_end(data, media_type):
        return None
    return new_file(data, media_type=media_type)


def _has_end(data: bytes, media_type: str) -> bool:
    if media_type == "image/webp":
        return len(data) >= int.from_bytes(data[4:8], "little") + 8
    return _IMAGE_ENDS[media_type] in data[-_MAX_TRAILER_BYTES:]


def _image_type(data: bytes) -> str | None:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((name for signature, name in _SIGNATURES if data.startswith(signature)), None)


def _uuid8(digest: bytes) -> UUID:
    """Return the first bits of a digest as a UUID of version 8 (RFC 9562), which is for such uses."""
    number = int.from_bytes(digest[:16])
    number = number & ~(0xF000 << 64) | (8 << 76)
    return UUID(int=number & ~(0xC000 << 48) | (0x8000 << 48))


@dataclass(frozen=True, slots=True)
class FileSpan:
    """Consecutive bytes of a file."""

    file_id: UUID
    offset: int
    length: int


def file_spans(file_id: UUID, size: int) -> Iterator[FileSpan]:
    """Yield the spans in which a whole file is read, each of at most ``PIECE_BYTES``."""
    for offset in range(0, size, PIECE_BYTES):
        yield FileSpan(file_id, offset, min(PIECE_BYTES, size - offset))


def span_batches(files: Iterable[tuple[UUID, int]]) -> Iterator[list[FileSpan]]:
    """Yield the spans of whole files, given by id and size, as many at a time as are read together."""
    batch: list[FileSpan] = []
    length = 0
    for span in (span for file in files for span in file_spans(*file)):
        if batch and (length + span.length > PIECE_BYTES or len(batch) == _MAX_SPANS):
            yield batch
            batch, length = [], 0
        batch.append(span)
        length += span.length
    if batch:
        yield batch


ReadFiles: TypeAlias = Callable[[Sequence[FileSpan]], Awaitable[Sequence[bytes]]]
"""Function that returns the bytes of each span, in their order."""


async def read_no_files(spans: Sequence[FileSpan]) -> Sequence[bytes]:
    """Raise, for a caller whose messages refer to no files."""
    raise LookupError(f"There is no file {spans[0].file_id}.")
