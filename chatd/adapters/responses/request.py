"""Bodies of requests, as far as they are read.

Clients add fields with every release, so those that are not known are ignored.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    model_validator,
)

from chatd.api.schema.types import FewItems, Labels, ModelName, Sanitized, ToolCallId
from chatd.domain.given_history import MAX_GIVEN_MESSAGES

IGNORED: Final = (
    "max_output_tokens", "max_tool_calls", "parallel_tool_calls", "prompt_cache_key", "reasoning",
    "safety_identifier", "service_tier", "temperature", "top_logprobs", "top_p", "truncation", "user",
    "include", "verbosity",
)  # fmt: skip
"""Fields that change nothing here, which a response names. To refuse them would lock out every client."""
MAX_ID_LENGTH: Final = 255
"""Characters of an id in a request. Those of this adapter are shorter."""

Id = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID_LENGTH), Sanitized]
_String = Annotated[str, Sanitized]
"""A string of any length: the body has a bound."""
_Name = Annotated[str, StringConstraints(max_length=255), Sanitized]
_Type = Annotated[str, StringConstraints(max_length=64)]


class _Input(BaseModel):
    model_config = ConfigDict(extra="ignore")


class ContentPart(_Input):
    """One part of a message or of a result. Which field counts says its type."""

    type: _Type
    text: _String | None = None
    refusal: _String | None = None
    image_url: str | None = None
    file_data: str | None = None
    filename: _Name | None = None


ContentParts = _String | Annotated[list[ContentPart], FewItems]


class MessageInput(_Input):
    """A message of anybody."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: ContentParts


class FunctionCallInput(_Input):
    """A call that the model made."""

    type: Literal["function_call"]
    call_id: ToolCallId
    name: Annotated[str, StringConstraints(min_length=1, max_length=64), Sanitized]
    arguments: _String = ""


class FunctionOutputInput(_Input):
    """The output of a call that the client ran."""

    type: Literal["function_call_output"]
    call_id: ToolCallId
    output: ContentParts


class ApprovalInput(_Input):
    """The answer whether the server may run a call."""

    type: Literal["mcp_approval_response"]
    approval_request_id: Id
    approve: bool
    reason: Annotated[str, StringConstraints(max_length=4000), Sanitized] | None = None


class ReferenceInput(_Input):
    """An item that is stored here, by its id."""

    type: Literal["item_reference"] | None = None
    id: Id


class PassedInput(_Input):
    """An item that a client sends back and no model takes: reasoning, and requests of approvals."""

    type: Literal["reasoning", "mcp_approval_request"]


class UnknownInput(_Input):
    """An item of another type, which is refused."""

    type: _Type


def _kind(value: object) -> str:
    fields = value if isinstance(value, Mapping) else vars(value)
    kind = fields.get("type") or ("message" if "role" in fields else "item_reference")
    return _KINDS.get(str(kind), "other")


InputItem = Annotated[
    Annotated[MessageInput, Tag("message")]
    | Annotated[FunctionCallInput, Tag("function_call")]
    | Annotated[FunctionOutputInput, Tag("function_call_output")]
    | Annotated[ApprovalInput, Tag("mcp_approval_response")]
    | Annotated[ReferenceInput, Tag("item_reference")]
    | Annotated[PassedInput, Tag("reasoning")]
    | Annotated[UnknownInput, Tag("other")],
    Discriminator(_kind),
]
_KINDS: Final = {
    "message": "message",
    "function_call": "function_call",
    "function_call_output": "function_call_output",
    "mcp_approval_response": "mcp_approval_response",
    "item_reference": "item_reference",
    "reasoning": "reasoning",
    "mcp_approval_request": "reasoning",
}
InputItems = Annotated[list[InputItem], Field(max_length=MAX_GIVEN_MESSAGES)]


class FunctionTool(_Input):
    """A tool of the client."""

    type: _Type
    name: _Name = ""
    description: Annotated[str, StringConstraints(max_length=20_000), Sanitized] | None = None
    parameters: dict[str, Any] | None = None


class ConversationReference(_Input):
    """A conversation by its id."""

    id: Id


class CreateResponse(_Input):
    """A request for a response."""

    model: ModelName | None = None
    input: _String | InputItems = Field(default_factory=list)
    conversation: Id | ConversationReference | None = None
    previous_response_id: Id | None = None
    instructions: _String | None = None
    tools: Annotated[list[FunctionTool], FewItems] | None = None
    tool_choice: Any = None
    text: Any = None
    prompt: Any = None
    background: bool | None = False
    stream: bool | None = False
    store: bool | None = True
    metadata: Labels | None = None
    ignored: tuple[str, ...] = ()
    """The fields of the body that are known and change nothing."""

    @model_validator(mode="before")
    @classmethod
    def _name_ignored(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        return {**value, "ignored": sorted(name for name in IGNORED if value.get(name) is not None)}

    @property
    def conversation_id(self) -> str | None:
        given = self.conversation
        return given.id if isinstance(given, ConversationReference) else given


class CreateConversation(_Input):
    """A new conversation, with what is in it already."""

    items: InputItems | None = None
    metadata: Labels | None = None


class UpdateConversation(_Input):
    """The metadata of a conversation. They replace the old ones."""

    metadata: Labels | None = None


class AddItems(_Input):
    """Items to add to a conversation."""

    items: InputItems = Field(min_length=1)


def find_unsupported(request: CreateResponse) -> str | None:
    """Return the field that asks for what there is not here. None: there is none."""
    return next(_unsupported(request), None)


def _unsupported(request: CreateResponse) -> Iterator[str]:
    if request.tool_choice not in (None, "auto", "none"):
        yield "tool_choice"
    if request.prompt is not None:
        yield "prompt"
    text = request.text if isinstance(request.text, Mapping) else {}
    text_format = text.get("format")
    if isinstance(text_format, Mapping) and text_format.get("type") != "text":
        yield "text.format"
    for number, tool in enumerate(request.tools or ()):
        if tool.type != "function":
            yield f"tools.{number}.type"
    items = request.input if isinstance(request.input, list) else ()
    for number, item in enumerate(items):
        if isinstance(item, UnknownInput):
            yield f"input.{number}.type"
