"""The content of a message to send: a text, or a list of text and file parts."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal, TypeAlias
from uuid import UUID

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    WithJsonSchema,
)
from typing_extensions import TypeAliasType

from chatd.api.schema.types import MAX_BIGINT, MAX_ITEMS, FewItems, RequestModel, Sanitized, Text
from chatd.domain.files import File, new_file
from chatd.domain.message import Content as StoredContent
from chatd.domain.message import Part

_BASE64_PATTERN = "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
"""Only shown in the document. Decoding a large file is faster than matching a pattern."""

MAX_FILE_LENGTH = 64 * 1024 * 1024
"""Of a file of up to 48 MB. No provider takes a larger one in a message."""


def _decode_base64(value: object) -> bytes:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_FILE_LENGTH:
        raise ValueError(f"must be a string of 1 to {MAX_FILE_LENGTH} characters")
    try:
        return base64.b64decode(value, validate=True)
    except ValueError:
        raise ValueError("must be base64, as in RFC 4648") from None


Base64 = Annotated[
    bytes,
    BeforeValidator(_decode_base64),
    WithJsonSchema(
        {
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_FILE_LENGTH,
            "pattern": _BASE64_PATTERN,
        }
    ),
]
"""The content itself, never an address: chatd fetches nothing for a caller."""


MediaType = Annotated[str, StringConstraints(min_length=1, max_length=255), Sanitized]
"""Type and subtype have at most 127 characters each (RFC 6838). Parameters may follow."""


FileName = Annotated[str, StringConstraints(min_length=1, max_length=255), Sanitized]
"""File systems take no longer ones."""


class TextInput(RequestModel):
    """A text part of a message to send."""

    type: Literal["text"]
    text: Text = Field(examples=["Why is the sky blue?"])


class FileInput(RequestModel):
    """A file part of a message to send, inline. Responses have a `FilePart` in its place."""

    type: Literal["file"]
    media_type: MediaType = Field(examples=["image/png"])
    name: FileName | None = Field(default=None, examples=["sky.png"])
    data: Base64 = Field(description="base64", examples=["aGVsbG8="])


class StoredFileInput(RequestModel):
    """A file that the chat has already, as a `FilePart` of its messages. Only `file_id` is read."""

    type: Literal["file"]
    file_id: UUID
    media_type: MediaType | None = Field(default=None, examples=["image/png"])
    name: FileName | None = Field(default=None, examples=["sky.png"])
    size: int | None = Field(default=None, ge=0, le=MAX_BIGINT, examples=[5])
    url: Annotated[str, StringConstraints(max_length=255)] | None = None


AnyPartInput: TypeAlias = TextInput | FileInput | StoredFileInput


def _content_kind(value: object) -> str | None:
    return "text" if isinstance(value, str) else "parts" if isinstance(value, list) else None


def _part_kind(value: object) -> str | None:
    if not isinstance(value, dict) or value.get("type") not in ("text", "file"):
        return None
    return "stored file" if "file_id" in value else str(value["type"])


PartInput = Annotated[
    Annotated[TextInput, Tag("text")]
    | Annotated[FileInput, Tag("file")]
    | Annotated[StoredFileInput, Tag("stored file")],
    Discriminator(
        _part_kind,
        custom_error_type="part_type",
        custom_error_message="Input should be an object with the type 'text' or 'file'",
    ),
]


def _check_text(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be white space alone")
    return value


def _check_parts(parts: list[AnyPartInput]) -> list[AnyPartInput]:
    """Refuse a message that says nothing: providers reject it, and the chat would fail for ever."""
    if not any(not isinstance(part, TextInput) or part.text.strip() for part in parts):
        raise ValueError("must hold a file, or text that is not white space alone")
    return parts


_NOT_BLANK = {"type": "string", "pattern": r"\S"}
_SAYS_SOMETHING = {
    "anyOf": [
        {"properties": {"type": {"const": "file"}}},
        {"properties": {"text": _NOT_BLANK}},
    ]
}
Content = TypeAliasType(
    "Content",
    Annotated[
        Annotated[
            Text,
            AfterValidator(_check_text),
            Field(json_schema_extra={"pattern": r"\S"}),
            Tag("text"),
        ]
        | Annotated[
            list[PartInput],
            Field(
                min_length=1,
                max_length=MAX_ITEMS,
                json_schema_extra={"contains": _SAYS_SOMETHING},
            ),
            AfterValidator(_check_parts),
            FewItems,
            Tag("parts"),
        ],
        Discriminator(
            _content_kind,
            custom_error_type="content_type",
            custom_error_message="Input should be a string or a list of parts",
        ),
        Field(
            title="Content",
            description="The content of a message to send: a text, or a list of parts.",
        ),
    ],
)


_NAMED_FILE = "named file"


@dataclass(frozen=True, slots=True)
class SentContent:
    """Content of a request as parts to store, and the files that they bring.

    A part that names a file of the chat has nothing but its id yet.
    """

    parts: StoredContent
    files: tuple[File, ...] = ()

    @property
    def named_files(self) -> Sequence[UUID]:
        """The ids of the files that the chat has already."""
        return [part["file_id"] for part in self.parts if part["type"] == _NAMED_FILE]

    def with_named_files(self, references: Mapping[UUID, Part]) -> "SentContent":
        """Return the content with the parts that stand for these files."""
        parts = (
            references[part["file_id"]] if part["type"] == _NAMED_FILE else part
            for part in self.parts
        )
        return replace(self, parts=tuple(parts))


def sent_content(content: str | list[AnyPartInput]) -> SentContent:
    """Return the content of a request. A string becomes one text part."""
    if isinstance(content, str):
        return SentContent(({"type": "text", "text": content},))
    parts: list[Part] = []
    files: list[File] = []
    for part in content:
        if isinstance(part, FileInput):
            files.append(new_file(part.data, media_type=part.media_type, name=part.name))
            parts.append(files[-1].reference())
        elif isinstance(part, StoredFileInput):
            parts.append({"type": _NAMED_FILE, "file_id": part.file_id})
        else:
            parts.append(part.model_dump())
    return SentContent(tuple(parts), tuple(files))
