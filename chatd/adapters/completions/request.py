"""The body of a request, as far as it is read.

Clients add fields with every release, so those that are not known are ignored.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from chatd.api.schema.types import FewItems, ModelName, Sanitized
from chatd.domain.given_history import MAX_GIVEN_MESSAGES

IGNORED: Final = frozenset(
    {
        "temperature", "top_p", "frequency_penalty", "presence_penalty", "seed", "stop", "max_tokens",
        "max_completion_tokens", "user", "store", "reasoning_effort", "parallel_tool_calls",
        "service_tier", "logit_bias", "verbosity", "prediction", "safety_identifier",
        "prompt_cache_key", "web_search_options",
    }
)  # fmt: skip
"""Fields that change nothing here, which a response names. To refuse them would lock out every client."""

_Id = Annotated[str, StringConstraints(min_length=1, max_length=200), Sanitized]
_Type = Annotated[str, StringConstraints(max_length=64)]
_String = Annotated[str, Sanitized]
"""A string of any length: the body has a bound."""


class _Input(BaseModel):
    model_config = ConfigDict(extra="ignore")


class ImageUrl(_Input):
    """The URL of an image."""

    url: str


class FileData(_Input):
    """A file in the request itself, or the id of one elsewhere."""

    file_data: str | None = None
    file_id: str | None = None
    filename: Annotated[str, StringConstraints(max_length=255), Sanitized] | None = None


class ContentPart(_Input):
    """One part of a message. Which field counts says its type."""

    type: _Type
    text: _String | None = None
    refusal: _String | None = None
    image_url: ImageUrl | None = None
    file: FileData | None = None


class FunctionCall(_Input):
    """The function of a call: its name and its arguments, which are JSON as a text."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=64), Sanitized]
    arguments: _String = ""


class ToolCall(_Input):
    """A call that the model made."""

    id: _Id
    type: _Type = "function"
    function: FunctionCall | None = None


class RequestMessage(_Input):
    """A message of a client's list. An assistant's reasoning is not read: no provider takes it back."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: _String | Annotated[list[ContentPart], FewItems] | None = None
    refusal: _String | None = None
    tool_calls: Annotated[list[ToolCall], FewItems] | None = None
    tool_call_id: _Id | None = None


class FunctionTool(_Input):
    """A function that the client runs."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


class RequestTool(_Input):
    """A tool of the client."""

    type: _Type = "function"
    function: FunctionTool | None = None


class StreamOptions(_Input):
    """Options of a stream."""

    include_usage: bool | None = False


class CompletionRequest(_Input):
    """A request for an answer to a list of messages."""

    messages: list[RequestMessage] = Field(min_length=1, max_length=MAX_GIVEN_MESSAGES)
    model: ModelName | None = None
    tools: Annotated[list[RequestTool], FewItems] | None = None
    tool_choice: Any = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    metadata: dict[str, Any] | None = None
    n: int | None = 1
    response_format: Any = None
    modalities: Annotated[list[_Type], FewItems] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    audio: Any = None
    functions: Any = None
    function_call: Any = None
    ignored: tuple[str, ...] = ()
    """The fields of the body that are known and change nothing."""

    @model_validator(mode="before")
    @classmethod
    def _name_ignored(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        return {**value, "ignored": sorted(name for name in IGNORED if value.get(name) is not None)}

    @property
    def includes_usage(self) -> bool:
        """True if a stream is to end with the usage."""
        return bool(self.stream_options and self.stream_options.include_usage)


def find_unsupported(request: CompletionRequest) -> str | None:
    """Return the field that asks for what there is not here. None: there is none."""
    return next(_unsupported(request), None)


def _unsupported(request: CompletionRequest) -> Iterator[str]:
    asked = {
        "n": request.n not in {None, 1},
        "response_format": _kind(request.response_format) not in {None, "text"},
        "logprobs": request.logprobs,
        "top_logprobs": request.top_logprobs,
        "modalities": set(request.modalities or ()) - {"text"},
        "tool_choice": request.tool_choice not in (None, "auto", "none"),
        "audio": request.audio,
        "functions": request.functions,
        "function_call": request.function_call,
    }
    yield from (name for name, value in asked.items() if value)
    for number, tool in enumerate(request.tools or ()):
        if tool.type != "function" or tool.function is None:
            yield f"tools.{number}.type"


def _kind(response_format: object) -> str | None:
    if response_format is None:
        return None
    return str(response_format.get("type")) if isinstance(response_format, Mapping) else "other"
