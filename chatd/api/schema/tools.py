"""Request models of tools that the client runs, and of their results."""

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
    """Tool that the client runs when the model calls it."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, StringConstraints(pattern="^[A-Za-z0-9_-]{1,64}$"), Sanitized] = Field(
        examples=["weather"]
    )
    description: Annotated[str, Sanitized] = Field(
        default="", description="Purpose of the tool, for the model."
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
    """Result of one tool call. `result` is any JSON value."""

    model_config = ConfigDict(extra="forbid")

    tool_call_id: NonEmptyStr
    result: JsonValue
    is_error: bool = Field(
        default=False, description="True if the tool failed. The model receives it as an error."
    )

    def to_domain(self) -> ToolResult:
        return ToolResult(
            tool_call_id=self.tool_call_id, result=self.result, is_error=self.is_error
        )


class SubmitToolResults(BaseModel):
    """Results of all pending tool calls of a chat, one for each."""

    model_config = ConfigDict(extra="forbid")

    results: list[ToolResultInput] = Field(min_length=1)
