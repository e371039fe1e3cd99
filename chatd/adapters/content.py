"""Content of other protocols as content parts of chatd."""

from base64 import b64decode
from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote_to_bytes

from chatd.api.errors.problems import FieldProblem, HttpProblem, invalid_request
from chatd.api.schema.content import MAX_FILE_LENGTH, SentContent
from chatd.domain.files import File, new_file
from chatd.domain.message import Part
from chatd.domain.sanitize import replace_unstorable

_SCHEME: Final = "data:"
_BASE64: Final = ";base64"
_DEFAULT_MEDIA_TYPE: Final = "text/plain"
_MAX_MEDIA_TYPE_LENGTH: Final = 255
_MAX_NAME_LENGTH: Final = 255


def text_part(text: str) -> Part:
    """Return text as a part, without what PostgreSQL cannot store."""
    return {"type": "text", "text": replace_unstorable(text)}


def file_from_data_url(url: str, *, where: str, name: str | None = None) -> SentContent:
    """Return the file of a ``data:`` URL, as a part and its bytes.

    Raises ``HttpProblem`` (422) that names ``where`` for another kind of URL: nothing is fetched.
    """
    head, comma, body = url.partition(",")
    if not comma or head[: len(_SCHEME)].lower() != _SCHEME:
        raise _refused(where, "must be a data: URL with the file in it: nothing is fetched")
    if not 0 < len(body) <= MAX_FILE_LENGTH:
        raise _refused(where, f"must hold 1 to {MAX_FILE_LENGTH} characters of data")
    is_base64 = head.lower().endswith(_BASE64)
    media_type = head[len(_SCHEME) : len(head) - len(_BASE64) * is_base64].strip()
    if len(media_type) > _MAX_MEDIA_TYPE_LENGTH:
        raise _refused(where, f"its media type has more than {_MAX_MEDIA_TYPE_LENGTH} characters")
    try:
        data = b64decode(body, validate=True) if is_base64 else unquote_to_bytes(body)
    except ValueError:
        raise _refused(where, "must be base64, as in RFC 4648") from None
    file = new_file(
        data,
        media_type=replace_unstorable(media_type) or _DEFAULT_MEDIA_TYPE,
        name=replace_unstorable(name)[:_MAX_NAME_LENGTH] if name else None,
    )
    return SentContent((file.reference(),), (file,))


def joined(pieces: Iterable[Part | SentContent]) -> SentContent:
    """Return parts and files as the content of one message."""
    parts: list[Part] = []
    files: list[File] = []
    for piece in pieces:
        if isinstance(piece, SentContent):
            parts.extend(piece.parts)
            files.extend(piece.files)
        else:
            parts.append(piece)
    return SentContent(tuple(parts), tuple(files))


def _refused(where: str, reason: str) -> HttpProblem:
    return invalid_request(FieldProblem(where=where, message=reason))
