"""Files in messages: their media type, their text, and the reason why a provider cannot take one.

A file of text goes to every provider as text, whatever its charset. Any other file goes as it is, where the
kind of provider takes its media type.
"""

import base64
import binascii
import codecs
from collections.abc import Mapping
from email.message import Message as MimeHeader

from chatd.domain.message import Part
from chatd.domain.sanitize import replace_unstorable

_ALIASES = {
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/x-png": "image/png",
    "audio/mp3": "audio/mpeg",
    "audio/x-mp3": "audio/mpeg",
    "audio/wave": "audio/wav",
    "audio/x-wav": "audio/wav",
    "application/x-pdf": "application/pdf",
}
_TEXT_TYPES = frozenset(
    f"application/{name}"
    for name in """
        csv graphql javascript json json5 jsonl rtf sql toml typescript x-httpd-php x-javascript
        x-ndjson x-python x-sh x-tex x-www-form-urlencoded x-yaml xml yaml
    """.split()  # noqa: SIM905 - one word each
)
_TEXT_SUFFIXES = ("+json", "+xml", "+yaml")
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins like UTF-16's, so it is tried first
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_NOT_CHARSETS = frozenset({"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined"})
"""Python's codecs that are no charsets. Some of them take quadratic time."""
_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)
_SIGNATURE_LENGTH = 16
"""Base64 characters of an image that are looked at."""


def media_type_of(part: Part) -> str:
    """Return the media type of a file part: without parameters, and as its bytes say if it is an image."""
    declared = str(part.get("media_type") or "application/octet-stream")
    name = declared.partition(";")[0].strip().lower()
    name = _ALIASES.get(name, name)
    if name.startswith("image/"):
        return _image_type(part["data"]) or name
    return name


def _image_type(data: str) -> str | None:
    """Return the type of an image by its first bytes. Anthropic refuses one that is declared as another."""
    try:
        head = base64.b64decode(data[:_SIGNATURE_LENGTH])
    except binascii.Error:
        return None
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    return next((name for signature, name in _SIGNATURES if head.startswith(signature)), None)


def is_text(media_type: str) -> bool:
    """Return True if files of this type are sent as text."""
    return (
        media_type.startswith("text/")
        or media_type in _TEXT_TYPES
        or media_type.endswith(_TEXT_SUFFIXES)
    )


def refusal(part: Part, *, file_types: Mapping[str, int]) -> str | None:
    """Return why a file part cannot be sent to a provider that takes ``file_types``. None: it can."""
    media_type = media_type_of(part)
    if is_text(media_type):
        return None
    if (limit := file_types.get(media_type)) is None:
        return f"a file of type {media_type}, which the model's provider does not take"
    data = part["data"]
    size = len(data) * 3 // 4 - data[-2:].count("=")
    if size > limit:
        return (
            f"a file of type {media_type} of {size} bytes, and the model's provider takes {limit}"
        )
    return None


def text_of_file(part: Part) -> str:
    """Return the text of a file, headed by its media type."""
    media_type = media_type_of(part)
    text = replace_unstorable(_decode(file_bytes(part), declared=_charset(part["media_type"])))
    return f"File ({media_type}):\n\n{text}" if text.strip() else f"File ({media_type}): empty"


def file_bytes(part: Part) -> bytes:
    """Return the bytes of a file. Raises ``ValueError`` for data that is not base64."""
    return base64.b64decode(part["data"], validate=True)


def _charset(media_type: str) -> str | None:
    header = MimeHeader()
    header["content-type"] = media_type.replace("\r", "").replace("\n", "")
    charset = header.get_param("charset")
    return charset if isinstance(charset, str) else None


def _decode(data: bytes, *, declared: str | None) -> str:
    """Decode by the byte order mark, the declared charset, as UTF-8, or else as Latin-1."""
    marked = (name for mark, name in _BYTE_ORDER_MARKS if data.startswith(mark))
    for charset in (next(marked, None), declared, "utf-8"):
        if charset is None or charset.lower().replace("-", "_") in _NOT_CHARSETS:
            continue
        try:
            return data.decode(charset)
        except (ValueError, LookupError):
            continue
    return data.decode("cp1252", errors="replace")
