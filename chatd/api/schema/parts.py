"""Content parts and their fragments, as the document describes them.

They are stored, streamed and served as plain mappings: nothing is made of these models, so what a
part has beyond them is kept, and a stream pays nothing for its types.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, TypeAdapter
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from chatd.domain.message import Part


class DocumentedAs:
    """Describe a field in the document as a ``model_type`` that it is not checked against."""

    def __init__(self, model_type: Any) -> None:
        self._model_type = model_type

    def __get_pydantic_json_schema__(
        self, _schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return handler(TypeAdapter(self._model_type).core_schema)


class TextPart(BaseModel):
    """Text."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"type": "text", "text": "Hi!"}]})

    type: Literal["text"]
    text: str


class ReasoningPart(BaseModel):
    """Reasoning of the model, as far as the provider returns it."""

    type: Literal["reasoning"]
    text: str = ""


class ToolCallPart(BaseModel):
    """Tool call by the model."""

    type: Literal["tool-call"]
    tool_call_id: str
    tool_name: str
    args: str = Field(
        description="JSON as written by the model. It may be malformed.",
        examples=['{"city": "Bern"}'],
    )


class ToolResultPart(BaseModel):
    """Result of a tool call, or the error that replaces it."""

    type: Literal["tool-result"]
    tool_call_id: str
    tool_name: str | None = None
    result: Any = Field(description="Any JSON.", examples=[{"celsius": 21}])
    is_error: bool = False


class SourcePart(BaseModel):
    """Source that the model cites."""

    type: Literal["source"]
    url: str | None = None
    title: str | None = None


class FilePart(BaseModel):
    """Inline file."""

    type: Literal["file"]
    media_type: str = Field(examples=["image/png"])
    data: str = Field(description="Base64 data.")


AnyPart = Annotated[
    TextPart | ReasoningPart | ToolCallPart | ToolResultPart | SourcePart | FilePart,
    Field(discriminator="type"),
]
Parts = Annotated[list[dict[str, Any]], DocumentedAs(list[AnyPart])]


class _Delta(BaseModel):
    index: int = Field(description="Index of the content part that this delta belongs to.", ge=0)


class TextDelta(_Delta):
    """Text to append to the part."""

    type: Literal["text"]
    text: str


class ReasoningDelta(_Delta):
    """Reasoning to append to the part."""

    type: Literal["reasoning"]
    text: str


class ToolCallDelta(_Delta):
    """Piece of a streamed tool call. Append `args`; other fields replace what was there."""

    type: Literal["tool-call"]
    tool_call_id: str | None = None
    tool_name: str | None = None
    args: str = ""


class SourceDelta(_Delta, SourcePart):
    """Complete source."""


class FileDelta(_Delta, FilePart):
    """Complete file."""


AnyDelta = Annotated[
    TextDelta | ReasoningDelta | ToolCallDelta | SourceDelta | FileDelta,
    Field(discriminator="type"),
]
Deltas = Annotated[list[dict[str, Any]], DocumentedAs(list[AnyDelta])]

_PROVIDER_DATA = "provider"
"""Where a vendor's own marks are kept with a part; they go back to it, and to nobody else."""


def public_part(part: Part) -> dict[str, Any]:
    """A part without what is not the caller's business."""
    return (
        dict(part)
        if _PROVIDER_DATA not in part
        else {k: part[k] for k in part if k != _PROVIDER_DATA}
    )


def public_delta(delta: Part) -> Part | None:
    """A fragment without what is not the caller's business; None when that is all there is to it."""
    if _PROVIDER_DATA not in delta:
        return delta
    return None if delta.keys() == {"index", "type", _PROVIDER_DATA} else public_part(delta)
