"""Files in messages: their media type, their text, and the reason why a provider cannot take one.

A file of text goes to every provider as text, whatever its charset. Any other file goes as it is, where the
kind of provider takes its media type.
"""

import codecs
from collections.abc import Iterable, Mapping
from email.message import Message as MimeHeader
from uuid import UUID

from chatd.domain.files import ReadFiles, span_batches
from chatd.domain.message import Message, Part, Role
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


def media_type_of(part: Part) -> str:
    """Return the media type of a file part, without parameters."""
    declared = str(part.get("media_type") or "application/octet-stream")
    name = declared.partition(";")[0].strip().lower()
    return _ALIASES.get(name, name)


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
    size = part["size"]
    if size > limit:
        return (
            f"a file of type {media_type} of {size} bytes, and the model's provider takes {limit}"
        )
    return None


def text_length(part: Part) -> int:
    """Return about how many characters a part adds to a request."""
    if part["type"] == "file":
        return int(part["size"]) if is_text(media_type_of(part)) else 0
    texts = (part.get(key) for key in ("text", "args", "result"))
    return sum(len(text) for text in texts if isinstance(text, str))


async def read_text_files(messages: Iterable[Message], read_files: ReadFiles) -> dict[str, str]:
    """Return the texts of the text files of users' messages, by the ids of the files."""
    parts = {
        UUID(part["file_id"]): part
        for message in messages
        if message.role is Role.USER
        for part in message.content
        if part["type"] == "file" and is_text(media_type_of(part))
    }
    pieces: dict[UUID, list[bytes]] = {file_id: [] for file_id in parts}
    for batch in span_batches((file_id, part["size"]) for file_id, part in parts.items()):
        for span, data in zip(batch, await read_files(batch), strict=True):
            pieces[span.file_id].append(data)
    return {
        part["file_id"]: _text_of(b"".join(pieces[file_id]), part["media_type"])
        for file_id, part in parts.items()
    }


def _text_of(data: bytes, media_type: str) -> str:
    """Return the text of a file, headed by its media type."""
    name = media_type_of({"media_type": media_type})
    text = replace_unstorable(_decode(data, declared=_charset(media_type)))
    return f"File ({name}):\n\n{text}" if text.strip() else f"File ({name}): empty"


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
