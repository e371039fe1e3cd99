"""The content of a message to send: a text, or a list of text and file parts."""

import base64
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    WithJsonSchema,
)
from typing_extensions import TypeAliasType

from chatd.api.schema.types import MAX_ITEMS, FewItems, RequestModel, Sanitized, Text
from chatd.domain.message import Content as StoredContent


def _check_base64(value: str) -> str:
    try:
        base64.b64decode(value, validate=True)
    except ValueError:
        raise ValueError("must be base64, as in RFC 4648") from None
    return value


_BASE64_PATTERN = "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
"""Only shown in the document. Decoding a large file is faster than matching a pattern."""

MAX_FILE_LENGTH = 64 * 1024 * 1024
"""Of a file of up to 48 MB. No provider takes a larger one in a message."""

Base64 = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_FILE_LENGTH),
    Sanitized,
    AfterValidator(_check_base64),
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


class TextInput(RequestModel):
    """A text part of a message to send."""

    type: Literal["text"]
    text: Text = Field(examples=["Why is the sky blue?"])


class FileInput(RequestModel):
    """A file part of a message to send, inline."""

    type: Literal["file"]
    media_type: MediaType = Field(examples=["image/png"])
    data: Base64 = Field(description="base64", examples=["aGVsbG8="])


def _content_kind(value: object) -> str | None:
    return "text" if isinstance(value, str) else "parts" if isinstance(value, list) else None


PartInput = Annotated[TextInput | FileInput, Field(discriminator="type")]


def _check_text(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be white space alone")
    return value


def _check_parts(parts: list[TextInput | FileInput]) -> list[TextInput | FileInput]:
    """Refuse a message that says nothing: providers reject it, and the chat would fail for ever."""
    if not any(isinstance(part, FileInput) or part.text.strip() for part in parts):
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


def content_parts(content: str | list[TextInput | FileInput]) -> StoredContent:
    """Return the content of a request as parts to store. A string becomes one text part."""
    if isinstance(content, str):
        return ({"type": "text", "text": content},)
    return tuple(part.model_dump() for part in content)
