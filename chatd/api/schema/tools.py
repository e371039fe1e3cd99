"""Tools of a chat: those that the client runs, its results, and rules for those of the server."""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StringConstraints

from chatd.api.schema.json_schema import validate_tool_parameters
from chatd.api.schema.types import (
    JSON_BOUNDS,
    MAX_ITEMS,
    MAX_JSON_VALUES,
    FewItems,
    JsonValue,
    RequestModel,
    Sanitized,
    ToolCallId,
)
from chatd.domain.permission import Permission, PermissionMode
from chatd.domain.permission import ToolRule as PermissionRule
from chatd.domain.tool_call import ToolResult

MAX_CHOSEN_TOOLS = 100
"""Names of one kind that a chat chooses. They are read with the chat."""
MAX_TOOL_RULES = 64
"""Rules of one chat. Each call is compared with all of them."""

ToolParameters = Annotated[
    dict[Annotated[str, Sanitized], JsonValue],
    Field(
        description="A JSON schema of type `object`.",
        examples=[{"type": "object", "properties": {"city": {"type": "string"}}}],
        max_length=MAX_JSON_VALUES,
        json_schema_extra={
            "required": ["type"],
            "properties": {"type": {"const": "object"}},
            **JSON_BOUNDS,
        },
    ),
    AfterValidator(validate_tool_parameters),
]


class Tool(RequestModel):
    """A tool that the chat's client runs when the model calls it."""

    name: Annotated[
        str, StringConstraints(pattern="^[A-Za-z0-9_-]{1,64}$", max_length=64), Sanitized
    ] = Field(examples=["weather"])
    description: Annotated[str, StringConstraints(max_length=20_000), Sanitized] = Field(
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
    Field(
        description="Tools that the client runs. The chat waits for their results.",
        max_length=MAX_ITEMS,
    ),
    AfterValidator(_unique_names),
    FewItems,
]


ServerToolNames = Annotated[
    list[Annotated[str, StringConstraints(max_length=64), Sanitized]],
    Field(max_length=MAX_CHOSEN_TOOLS),
    FewItems,
]


class ServerTools(RequestModel):
    """The servers and tools that the chat chooses among those of this server, by name.

    An empty list chooses none. Of a kind that is left out, the chat has those that the configuration
    offers by default. What the configuration no longer has is passed by when a turn begins.
    """

    mcp: ServerToolNames | None = Field(
        default=None, description="MCP servers, with all their tools.", examples=[["time"]]
    )
    http: ServerToolNames | None = Field(default=None, description="HTTP tools.", examples=[[]])
    builtin: ServerToolNames | None = Field(
        default=None, description="Tools of `tools.builtin`.", examples=[[]]
    )

    def names(self) -> dict[str, list[str]]:
        """Return the names that are chosen, by kind."""
        return {kind: sorted(set(names)) for kind, names in self if names is not None}


class ToolRule(RequestModel):
    """A permission for the tools of the server whose names fit a pattern."""

    tools: Annotated[
        str, StringConstraints(pattern=r"^[A-Za-z0-9_*?-]{1,64}$", max_length=64), Sanitized
    ] = Field(description="`*` and `?` as in file names.", examples=["github__*"])
    permission: Permission = Field(examples=["ask"])

    @classmethod
    def from_domain(cls, rule: PermissionRule) -> "ToolRule":
        return cls(tools=rule.tools, permission=rule.permission)


ToolRules = Annotated[list[ToolRule], Field(max_length=MAX_TOOL_RULES), FewItems]


def stored_permissions(
    mode: PermissionMode | None, rules: Sequence[ToolRule] | None
) -> dict[str, Any]:
    """Return these permissions as they are stored. What is None is left out."""
    permissions: dict[str, Any] = {}
    if mode is not None:
        permissions["mode"] = mode.value
    if rules is not None:
        permissions["rules"] = [rule.model_dump(mode="json") for rule in rules]
    return permissions


PERMISSION_MODE: Any = Field(
    default=PermissionMode.DEFAULT,
    description="`ask`: a person is asked before a tool of the server runs, unless it only reads; "
    "`read_only`: such tools are denied; `default`: as the server is configured.",
    examples=["default"],
)
TOOL_RULES: Any = Field(
    default_factory=list,
    description="Rules for tools of the server. They make the server's own stricter, and never looser. The "
    "first that fits counts, but one that denies wins.",
    examples=[[{"tools": "github__*", "permission": "ask"}]],
)


class ToolResultInput(RequestModel):
    """The result of one tool call; `result` is any JSON."""

    tool_call_id: ToolCallId = Field(examples=["call_1"])
    result: JsonValue = Field(examples=[{"celsius": 21}])
    is_error: bool = Field(
        default=False, description="True if the tool failed. The model sees this."
    )

    def to_domain(self) -> ToolResult:
        return ToolResult(
            tool_call_id=self.tool_call_id, result=self.result, is_error=self.is_error
        )


class SubmitToolResults(RequestModel):
    """Results of all pending calls of a chat, each once."""

    results: Annotated[list[ToolResultInput], FewItems] = Field(min_length=1, max_length=MAX_ITEMS)
