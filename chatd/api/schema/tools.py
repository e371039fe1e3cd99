"""Tools that the client runs, and the results that it sends."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from chatd.api.schema.json_schema import validate_tool_parameters
from chatd.api.schema.types import JsonValue, NonEmptyStr, Sanitized
from chatd.store.tool_calls import ToolResult

ToolParameters = Annotated[
    dict[Annotated[str, Sanitized], JsonValue],
    AfterValidator(validate_tool_parameters),
    Field(
        description="A JSON schema of type `object`.",
        examples=[{"type": "object", "properties": {"city": {"type": "string"}}}],
        json_schema_extra={"required": ["type"], "properties": {"type": {"const": "object"}}},
    ),
]


class Tool(BaseModel):
    """A tool that the chat's client runs when the model calls it."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, StringConstraints(pattern="^[A-Za-z0-9_-]{1,64}$"), Sanitized] = Field(
        examples=["weather"]
    )
    description: Annotated[str, Sanitized] = Field(
        default="",
        description="The purpose of the tool, for the model.",
        examples=["The weather in a city."],
    )
    parameters: ToolParameters


def _unique_names(tools: list[Tool]) -> list[Tool]:
    seen: set[str] = set()
    for tool in tools:
        if tool.name in seen:
            raise ValueError(f"two tools are named {tool.name}")
        seen.add(tool.name)
    return tools


Tools = Annotated[
    list[Tool],
    AfterValidator(_unique_names),
    Field(description="Tools that the client runs. The chat waits for their results."),
]


class ToolResultInput(BaseModel):
    """The result of one tool call; `result` is any JSON."""

    model_config = ConfigDict(extra="forbid")

    tool_call_id: NonEmptyStr = Field(examples=["call_1"])
    result: JsonValue = Field(examples=[{"celsius": 21}])
    is_error: bool = Field(
        default=False, description="True if the tool failed. The model sees this."
    )

    def to_domain(self) -> ToolResult:
        return ToolResult(
            tool_call_id=self.tool_call_id, result=self.result, is_error=self.is_error
        )


class SubmitToolResults(BaseModel):
    """Results of all pending calls of a chat, each once."""

    model_config = ConfigDict(extra="forbid")

    results: list[ToolResultInput] = Field(min_length=1)
