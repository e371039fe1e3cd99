"""Bodies of responses: chats, messages, the queue, the journal and the models.

The examples beside the fields are of one conversation. ``openapi.examples`` makes those of whole schemas
out of them.
"""

from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from chatd.api.schema.actions import Action
from chatd.api.schema.parts import DocumentedAs, Parts
from chatd.api.schema.tools import (
    ToolRule,
)
from chatd.api.schema.types import (
    MAX_BIGINT,
)
from chatd.domain.chat import Status
from chatd.domain.failure import FailureKind
from chatd.domain.message import Role
from chatd.domain.permission import Permission, PermissionMode
from chatd.llm.model_facts import ContextLimitSource

MessageId = Annotated[int, Field(ge=0, le=MAX_BIGINT)]
"""The id of a message, stored or queued."""

_STARTED_AT = "2026-03-01T09:30:00.120000Z"
_USAGE: dict[str, Any] = {
    "input_tokens": 12,
    "output_tokens": 48,
    "cache_read_tokens": 0,
    "cache_write_tokens": 0,
    "reasoning_tokens": 0,
}
_MODEL_ID = "0d9e1c0a-51f7-5f57-8f0b-3f5a4f1f6c22"


class Usage(BaseModel):
    """Numbers of tokens."""

    model_config = ConfigDict(json_schema_extra={"examples": [_USAGE]})

    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int


class Family(BaseModel):
    """A root chat and all chats that it and others of the family have started."""

    chats: int = Field(description="Number of these chats, the root included.", examples=[4])
    usage: Usage


class FailureDetail(BaseModel):
    """Details of a failed turn, for programs."""

    kind: FailureKind = Field(examples=["overloaded"])
    message: str = Field(examples=["The model is overloaded."])
    provider: str | None = Field(examples=["anthropic"])
    model: str | None = Field(examples=["claude-sonnet"])
    status_code: int | None = Field(
        description="The HTTP status of the provider's response.", examples=[529]
    )
    retryable: bool = Field(description="True if another attempt may succeed.", examples=[True])
    attempts: int
    at: datetime


class Chat(BaseModel):
    """A chat.

    `last_error` is null unless the status is `error`, and `action_deadline` is null unless it is
    `requires_action` or `parked`.
    """

    id: UUID
    owner_id: str = Field(examples=["local"])
    parent_chat_id: UUID | None
    root_chat_id: UUID
    title: str = Field(examples=["The sky"])
    status: Status = Field(examples=["waiting"])
    last_error: str | None
    last_error_detail: Annotated[dict[str, Any], DocumentedAs(FailureDetail)] | None
    action_deadline: datetime | None
    actions: Annotated[list[dict[str, Any]], DocumentedAs(list[Action])] | None = Field(
        description="The calls that the chat waits for if the status is `requires_action`. Null otherwise, "
        "and in lists and events.",
        examples=[None],
    )
    archived: bool
    labels: dict[str, str] = Field(examples=[{"topic": "physics"}])
    server_tools: dict[str, list[str]] | None = Field(
        description="The MCP servers (`mcp`) and tools (`http`, `builtin`) that were chosen. Null: "
        "none were.",
        examples=[{"mcp": ["time"]}],
    )
    permission_mode: PermissionMode = Field(examples=["default"])
    tool_rules: list[ToolRule] = Field(examples=[[]])
    remembered_tools: dict[str, Permission] = Field(
        description="Answers with `remember`, by the name of the tool.", examples=[{}]
    )
    model: str | None = Field(examples=["fast"])
    last_model_config_id: UUID = Field(examples=[_MODEL_ID])
    version: int = Field(examples=[3])
    queue_length: int = Field(examples=[0])
    usage: Usage
    family: Family | None = Field(
        description="The family of a root chat that has started others, when it is read by its id. Null "
        "otherwise, and in lists and events.",
        examples=[None],
    )
    stored_bytes: int = Field(
        description="Size of the messages, tools and files. `limits.max_chat_bytes` is about it.",
        examples=[1480],
    )
    created_at: datetime = Field(examples=[_STARTED_AT])
    updated_at: datetime
    expires_at: datetime | None = Field(
        description="The chat is deleted after that, once it is idle. It is in no list. Null: it is kept.",
        examples=[None],
    )


class Message(BaseModel):
    """A message of a chat's history."""

    id: int = Field(examples=[2])
    chat_id: UUID
    role: Role = Field(examples=["assistant"])
    content: Parts = Field(
        examples=[[{"type": "text", "text": "Air scatters blue light more than red."}]]
    )
    model: str | None = Field(examples=["fast"])
    usage: Usage | None = Field(examples=[_USAGE])
    finish_reason: str | None = Field(
        description="Why the model ended: `stop`, `length`, `content_filter`, `refusal`, `tool_call` "
        "or the provider's own word; `interrupted` if it was interrupted. Null if no model wrote this.",
        examples=["stop"],
    )
    compacted: bool = Field(
        description="True if the model is shown a summary in place of this message.",
        examples=[False],
    )
    created_at: datetime


class QueuedMessage(BaseModel):
    """A message of the user that waits for the current turn to end."""

    id: int = Field(examples=[7])
    chat_id: UUID
    content: Parts = Field(examples=[[{"type": "text", "text": "And why is it red at night?"}]])
    model: str | None = Field(examples=["fast"])
    created_at: datetime


class SendMessageResult(BaseModel):
    """A sent message: stored in the history as `message`, or queued as `queued_message`."""

    queued: bool = Field(examples=[True])
    message: Message | None
    queued_message: QueuedMessage | None
    chat: Chat


class AppendMessagesResult(BaseModel):
    """The messages that were stored, and their chat."""

    messages: list[Message]
    chat: Chat


class JournalActor(BaseModel):
    """The credential that a request came with."""

    owner_id: str = Field(description="The owner of the token or of the JWT.", examples=["local"])
    token_id: UUID | None = Field(description="The id of the token, unless it was a JWT.")


class JournalEntry(BaseModel):
    """A row of the chat's journal: one transition."""

    version: int = Field(examples=[3])
    created_at: datetime
    transition: str = Field(examples=["finish_turn"])
    status: Status = Field(examples=["waiting"])
    epoch: int
    actor: JournalActor | None = Field(
        description="The credential of the request. Null if the transition is a worker's. If others acted "
        "for the owner, only operators (scope `read-all`) see it."
    )
    worker_id: UUID | None = Field(examples=["b0f1a3c2-7f0e-4f7b-9a51-9f0d3b8f4c77"])
    data: dict[str, Any] = Field(examples=[{"messages": [2], "settled_part": 4, "queue_length": 0}])


class Model(BaseModel):
    """A model that chats may use."""

    id: UUID = Field(examples=[_MODEL_ID])
    name: str = Field(examples=["fast"])
    provider: str = Field(examples=["anthropic"])
    context_limit: int | None = Field(examples=[200_000])
    context_limit_source: ContextLimitSource | None = Field(
        description="Source of `context_limit`. Null if it is not known."
    )
    default: bool = Field(examples=[True])


Item = TypeVar("Item")


class Page(BaseModel, Generic[Item]):
    """A page of items, and the way to the next page."""

    # Parametrized generics do not inherit the docstring as their description.
    model_config = ConfigDict(
        json_schema_extra={"description": "A page of items, and the way to the next page."}
    )

    items: list[Item]
    next_cursor: str | None = Field(
        default=None,
        description="Null at the end. Else repeat the request with it: for chats as `cursor`, for messages "
        "and the queue as `after_id` (or as `before_id` if that was used), for the journal as `after`.",
        examples=[None],
    )
