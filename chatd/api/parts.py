"""Content parts and their fragments, as the document describes them.

They are stored, streamed and served as plain mappings: nothing is made of these models, so what a
part has beyond them is kept, and a stream pays nothing for its types.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, TypeAdapter
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from chatd.domain.message import Part


class ShownAs:
    """Describe a field in the document as a ``model`` that it is not checked against."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def __get_pydantic_json_schema__(
        self, _schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return handler(TypeAdapter(self._model).core_schema)


class TextPart(BaseModel):
    """Words."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"type": "text", "text": "Hi!"}]})

    type: Literal["text"]
    text: str


class ReasoningPart(BaseModel):
    """What the model thought on its way, as far as it tells."""

    type: Literal["reasoning"]
    text: str = ""


class ToolCallPart(BaseModel):
    """The model asks for a tool."""

    type: Literal["tool-call"]
    tool_call_id: str
    tool_name: str
    args: str = Field(
        description="JSON, as the model wrote it; it may be malformed.",
        examples=['{"city": "Bern"}'],
    )


class ToolResultPart(BaseModel):
    """What a tool answered, or why it did not."""

    type: Literal["tool-result"]
    tool_call_id: str
    tool_name: str | None = None
    result: Any = Field(description="Any JSON.", examples=[{"celsius": 21}])
    is_error: bool = False


class SourcePart(BaseModel):
    """Something the model says it took its answer from."""

    type: Literal["source"]
    url: str | None = None
    title: str | None = None


class FilePart(BaseModel):
    """A file, inline."""

    type: Literal["file"]
    media_type: str = Field(examples=["image/png"])
    data: str = Field(description="base64")


AnyPart = Annotated[
    TextPart | ReasoningPart | ToolCallPart | ToolResultPart | SourcePart | FilePart,
    Field(discriminator="type"),
]
Parts = Annotated[list[dict[str, Any]], ShownAs(list[AnyPart])]


class _Fragment(BaseModel):
    index: int = Field(description="Which content part of the answer this adds to.", ge=0)


class TextFragment(_Fragment):
    """Words to add at the end."""

    type: Literal["text"]
    text: str


class ReasoningFragment(_Fragment):
    """Thoughts to add at the end."""

    type: Literal["reasoning"]
    text: str


class ToolCallFragment(_Fragment):
    """A call that is being written: `args` is to be added at the end, what else is here is new."""

    type: Literal["tool-call"]
    tool_call_id: str | None = None
    tool_name: str | None = None
    args: str = ""


class SourceFragment(_Fragment, SourcePart):
    """A source, whole."""


class FileFragment(_Fragment, FilePart):
    """A file, whole."""


AnyFragment = Annotated[
    TextFragment | ReasoningFragment | ToolCallFragment | SourceFragment | FileFragment,
    Field(discriminator="type"),
]
Fragments = Annotated[list[dict[str, Any]], ShownAs(list[AnyFragment])]

_OURS = "provider"
"""Where a vendor's own marks are kept with a part; they go back to it, and to nobody else."""


def shown(part: Part) -> dict[str, Any]:
    """A part without what is not the caller's business."""
    return dict(part) if _OURS not in part else {k: part[k] for k in part if k != _OURS}


def streamed_part(fragment: Part) -> Part | None:
    """A fragment without what is not the caller's business; None when that is all there is to it."""
    if _OURS not in fragment:
        return fragment
    return None if fragment.keys() == {"index", "type", _OURS} else shown(fragment)
