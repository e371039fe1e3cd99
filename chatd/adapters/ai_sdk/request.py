"""The body of a request, as far as it is read.

Clients and their wrappers add fields with every release, so those that are not known are ignored.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from chatd.api.schema.content import MAX_FILE_LENGTH
from chatd.api.schema.requests import SystemPrompt
from chatd.api.schema.tools import Tool, Tools
from chatd.api.schema.types import (
    MAX_ITEMS,
    JsonValue,
    Labels,
    ModelName,
    Sanitized,
    Title,
    ToolCallId,
)
from chatd.domain.chat import BusyBehavior
from chatd.domain.given_history import MAX_GIVEN_MESSAGES

_MAX_ID_LENGTH: Final = 1_000
"""Characters of an id of a client. Their own have 16."""

Id = Annotated[str, StringConstraints(min_length=1, max_length=_MAX_ID_LENGTH), Sanitized]
_String = Annotated[str, Sanitized]
"""A string of any length: the body has a bound."""


class _Input(BaseModel):
    model_config = ConfigDict(extra="ignore")


class Approval(_Input):
    """The answer of a person whether a tool may run. ``approved`` is None while there is none."""

    approved: bool | None = None
    reason: Annotated[str, StringConstraints(max_length=10_000), Sanitized] | None = None


class UIPart(_Input):
    """One part of a message. Which fields count says its type."""

    type: Annotated[str, StringConstraints(max_length=255)]
    text: _String | None = None
    url: Annotated[str, StringConstraints(max_length=MAX_FILE_LENGTH + 1_000)] | None = None
    filename: Annotated[str, StringConstraints(max_length=255), Sanitized] | None = None
    tool_call_id: ToolCallId | None = Field(default=None, alias="toolCallId")
    state: Annotated[str, StringConstraints(max_length=64)] | None = None
    output: JsonValue = None
    error_text: _String | None = Field(default=None, alias="errorText")
    approval: Approval | None = None

    @property
    def is_tool_call(self) -> bool:
        return self.type.startswith("tool-") or self.type == "dynamic-tool"


class UIMessage(_Input):
    """A message of the client's list. What an assistant said is read for its tool calls only."""

    id: Id
    role: Literal["system", "user", "assistant"]
    parts: Annotated[list[UIPart], Field(max_length=10 * MAX_ITEMS)] = []


def _tool_list(value: object) -> object:
    """Accept tools by name, as assistant-ui sends them."""
    if not isinstance(value, Mapping):
        return value
    return [
        {
            "name": name,
            "description": tool.get("description") or "",
            "parameters": tool.get("parameters") or tool.get("inputSchema") or {},
        }
        if isinstance(tool, Mapping)
        else tool
        for name, tool in value.items()
    ]


class ChatRequest(_Input):
    """A request of ``useChat``: the list of messages, or the last one alone, and what an app adds."""

    id: Id
    messages: Annotated[list[UIMessage], Field(max_length=MAX_GIVEN_MESSAGES)] = []
    message: UIMessage | None = None
    trigger: Annotated[str, StringConstraints(max_length=64)] = "submit-message"
    message_id: Id | None = Field(default=None, alias="messageId")
    model: ModelName | None = None
    system: SystemPrompt | None = None
    tools: Annotated[Tools | None, BeforeValidator(_tool_list)] = None
    busy: BusyBehavior | None = None
    title: Title = ""
    labels: Labels = Field(default_factory=dict)

    @property
    def all_messages(self) -> Sequence[UIMessage]:
        """The messages, the last one included."""
        return [*self.messages, self.message] if self.message is not None else self.messages

    @property
    def given_tools(self) -> Sequence[Tool]:
        """The tools of the client, if it sends any."""
        return self.tools or ()

    @property
    def regenerates(self) -> bool:
        """True if the client wants an answer anew."""
        return self.trigger == "regenerate-message"
