"""Content parts, as requests send them, responses show them, and streams send their deltas.

Parts of messages are stored, streamed and served as plain mappings. Their models here only describe
them: fields beyond these are kept, and a stream does not pay for types.
"""

import base64
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    Tag,
    TypeAdapter,
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema
from typing_extensions import TypeAliasType

from chatd.api.schema.types import NonEmptyStr
from chatd.domain.message import Content as StoredContent
from chatd.domain.message import Part as StoredPart


class DocumentedAs:
    """Annotation that describes a field in the document as ``model_type``, without validating it."""

    def __init__(self, model_type: Any) -> None:
        self._model_type = model_type

    def __get_pydantic_json_schema__(
        self, _schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return handler(TypeAdapter(self._model_type).core_schema)


# -- parts of requests ----------------------------------------------------------------------------


def _check_base64(value: str) -> str:
    try:
        base64.b64decode(value, validate=True)
    except ValueError:
        raise ValueError("must be base64, as in RFC 4648") from None
    return value


_BASE64_PATTERN = "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
"""Only shown in the document. Decoding a large file is faster than matching a pattern."""

Base64 = Annotated[
    NonEmptyStr,
    AfterValidator(_check_base64),
    WithJsonSchema({"type": "string", "minLength": 1, "pattern": _BASE64_PATTERN}),
]
"""The content itself, never an address: chatd fetches nothing for a caller."""


class TextInput(BaseModel):
    """A text part of a message to send."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["text"]
    text: NonEmptyStr = Field(examples=["Why is the sky blue?"])


class FileInput(BaseModel):
    """A file part of a message to send, inline."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["file"]
    media_type: NonEmptyStr = Field(examples=["image/png"])
    data: Base64 = Field(description="base64", examples=["aGVsbG8="])


def _content_kind(value: object) -> str | None:
    return "text" if isinstance(value, str) else "parts" if isinstance(value, list) else None


PartInput = Annotated[TextInput | FileInput, Field(discriminator="type")]
Content = TypeAliasType(
    "Content",
    Annotated[
        Annotated[NonEmptyStr, Tag("text")]
        | Annotated[list[PartInput], Field(min_length=1), Tag("parts")],
        Discriminator(
            _content_kind,
            custom_error_type="content_type",
            custom_error_message="Input should be a string or a list of parts",
        ),
        Field(description="The content of a message to send: a text, or a list of parts."),
    ],
)


def content_parts(content: str | list[TextInput | FileInput]) -> StoredContent:
    """Return the content of a request as parts to store. A string becomes one text part."""
    if isinstance(content, str):
        return ({"type": "text", "text": content},)
    return tuple(part.model_dump() for part in content)


# -- parts of messages ----------------------------------------------------------------------------


class TextPart(BaseModel):
    """A text."""

    type: Literal["text"]
    text: str = Field(examples=["Hi!"])


class ReasoningPart(BaseModel):
    """The model's reasoning, as far as the provider shows it."""

    type: Literal["reasoning"]
    text: str = ""


class ToolCallPart(BaseModel):
    """A call of a tool by the model."""

    type: Literal["tool-call"]
    tool_call_id: str = Field(examples=["call_1"])
    tool_name: str = Field(examples=["weather"])
    args: str = Field(
        description="JSON as the model wrote it. It may be malformed.",
        examples=['{"city": "Bern"}'],
    )


class ToolResultPart(BaseModel):
    """The result of a tool call, or the error that came instead."""

    type: Literal["tool-result"]
    tool_call_id: str = Field(examples=["call_1"])
    tool_name: str | None = None
    result: Any = Field(description="Any JSON.", examples=[{"celsius": 21}])
    is_error: bool = False


class SourcePart(BaseModel):
    """A source that the model cites."""

    type: Literal["source"]
    url: str | None = None
    title: str | None = None


class FilePart(BaseModel):
    """A file, inline."""

    type: Literal["file"]
    media_type: str = Field(examples=["image/png"])
    data: str = Field(description="base64", examples=["aGVsbG8="])


Part = TypeAliasType(
    "Part",
    Annotated[
        TextPart | ReasoningPart | ToolCallPart | ToolResultPart | SourcePart | FilePart,
        Field(discriminator="type", description="A part of a message. `type` tells them apart."),
    ],
)
Parts = Annotated[list[dict[str, Any]], DocumentedAs(list[Part])]


# -- deltas of streams ----------------------------------------------------------------------------


class _Delta(BaseModel):
    index: int = Field(
        description="The index of the content part that this adds to.", ge=0, examples=[0]
    )


class TextDelta(_Delta):
    """Text to append."""

    type: Literal["text"]
    text: str = Field(examples=["Air scat"])


class ReasoningDelta(_Delta):
    """Reasoning to append."""

    type: Literal["reasoning"]
    text: str


class ToolCallDelta(_Delta):
    """A piece of a tool call: append `args`, and set the other fields that are present."""

    type: Literal["tool-call"]
    tool_call_id: str | None = None
    tool_name: str | None = None
    args: str = ""


class SourceDelta(_Delta, SourcePart):
    """A complete source."""


class FileDelta(_Delta, FilePart):
    """A complete file."""


PartDelta = TypeAliasType(
    "PartDelta",
    Annotated[
        TextDelta | ReasoningDelta | ToolCallDelta | SourceDelta | FileDelta,
        Field(
            discriminator="type", description="A streamed piece of a part. `index` names the part."
        ),
    ],
)
Deltas = Annotated[list[dict[str, Any]], DocumentedAs(list[PartDelta])]


# -- what callers may see -------------------------------------------------------------------------

_PROVIDER_DATA = "provider"
"""Key of a provider's own data in a part. It is sent back to that provider, and to nobody else."""


def public_part(part: StoredPart) -> dict[str, Any]:
    """Return a part without the provider's own data."""
    return (
        dict(part)
        if _PROVIDER_DATA not in part
        else {key: part[key] for key in part if key != _PROVIDER_DATA}
    )


def public_delta(delta: StoredPart) -> StoredPart | None:
    """Return a delta without the provider's own data. None if there is nothing else in it."""
    if _PROVIDER_DATA not in delta:
        return delta
    return None if delta.keys() == {"index", "type", _PROVIDER_DATA} else public_part(delta)
