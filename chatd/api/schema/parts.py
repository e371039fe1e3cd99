"""Content parts as responses show them, and deltas as streams send them.

Both are stored, streamed and served as plain mappings. Their models here only describe them: fields
beyond these are kept, and a stream does not pay for types.
"""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field, GetJsonSchemaHandler, TypeAdapter
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema
from typing_extensions import TypeAliasType

_ID = "5bd0a6e5-6d3c-4a3e-9f0e-2f6f8c1d7a10"


class DocumentedAs:
    """Annotation that describes a field in the document as ``model_type``, without validating it."""

    def __init__(self, model_type: Any) -> None:
        self._model_type = model_type

    def __get_pydantic_json_schema__(
        self, _schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return handler(TypeAdapter(self._model_type).core_schema)


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


class NativeToolCallPart(BaseModel):
    """A call of a tool that the provider ran itself while its model answered. It needs no result."""

    type: Literal["native-tool-call"]
    tool_call_id: str = Field(examples=["srvtoolu_1"])
    tool_name: str = Field(examples=["web_search"])
    args: str = Field(
        description="JSON as the provider sent it.", examples=['{"query": "weather in Bern"}']
    )


class NativeToolResultPart(BaseModel):
    """The result of such a call, as far as it can be read. Long ones are cut, to a text."""

    type: Literal["native-tool-result"]
    tool_call_id: str = Field(examples=["srvtoolu_1"])
    tool_name: str = Field(examples=["web_search"])
    result: Any = Field(
        description="Any JSON, in the provider's own form.",
        examples=[[{"type": "web_search_result", "url": "https://example.com"}]],
    )
    is_error: bool = False


class SourcePart(BaseModel):
    """A source that the model cites."""

    type: Literal["source"]
    url: str | None = None
    title: str | None = None


class _File(BaseModel):
    type: Literal["file"]
    file_id: UUID
    media_type: str = Field(examples=["image/png"])
    name: str | None = Field(examples=["sky.png"])
    size: int = Field(description="In bytes.", examples=[5])


class FilePart(_File):
    """A file of the chat, which `url` serves."""

    url: str = Field(
        description="Path of the file on this server.",
        examples=[f"/api/v1/chats/{_ID}/files/{_ID}"],
    )


class ToolResultPart(BaseModel):
    """The result of a tool call, or the error that came instead."""

    type: Literal["tool-result"]
    tool_call_id: str = Field(examples=["call_1"])
    tool_name: str | None = None
    result: Any = Field(description="Any JSON.", examples=[{"celsius": 21}])
    is_error: bool = False
    output_bytes: int = Field(
        0,
        description="Length of an output of which the result has the head and the tail. 0: it has all.",
        examples=[200_000],
    )
    files: list[FilePart] = Field([], description="Images.")


class CompactionPart(BaseModel):
    """A notice for people: the model is shown a summary in place of earlier messages from now on."""

    type: Literal["compaction"]
    before_tokens: int = Field(
        description="Size of what the model was shown before, about.", examples=[98_000]
    )
    after_tokens: int = Field(description="The same after it.", examples=[21_000])


Part = TypeAliasType(
    "Part",
    Annotated[
        TextPart
        | ReasoningPart
        | ToolCallPart
        | ToolResultPart
        | NativeToolCallPart
        | NativeToolResultPart
        | SourcePart
        | FilePart
        | CompactionPart,
        Field(
            title="Part",
            discriminator="type",
            description="A part of a message. `type` tells them apart.",
        ),
    ],
)
Parts = Annotated[list[dict[str, Any]], DocumentedAs(list[Part])]


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


class NativeToolCallDelta(_Delta):
    """A piece of such a call: append `args`, and set the other fields that are present."""

    type: Literal["native-tool-call"]
    tool_call_id: str | None = None
    tool_name: str | None = None
    args: str = ""


class NativeToolResultDelta(_Delta, NativeToolResultPart):
    """A complete result of such a call."""


class SourceDelta(_Delta, SourcePart):
    """A complete source."""


class FileDelta(_Delta, _File):
    """A complete file, which is served once the message is stored."""


class ToolProgressDelta(_Delta):
    """Progress of a tool that runs: append `text`, and set the other fields that are present.

    `index` is the position of its call among those of the message. It ends with the message that has the
    results.
    """

    type: Literal["tool-progress"]
    tool_call_id: str = Field(examples=["call_1"])
    text: str = Field(
        "", description="Output of the tool since the last of these. Of much, only the end is sent."
    )
    progress: float | None = Field(None, description="Steps that are done.", examples=[3])
    total: float | None = Field(None, description="Steps in all.", examples=[10])
    message: str = Field("", examples=["Reading page 3"])


PartDelta = TypeAliasType(
    "PartDelta",
    Annotated[
        TextDelta
        | ReasoningDelta
        | ToolCallDelta
        | NativeToolCallDelta
        | NativeToolResultDelta
        | SourceDelta
        | FileDelta
        | ToolProgressDelta,
        Field(
            title="PartDelta",
            discriminator="type",
            description="A streamed piece of a part. `index` names the part.",
        ),
    ],
)
Deltas = Annotated[list[dict[str, Any]], DocumentedAs(list[PartDelta])]
