"""Request and response models of the API."""

import base64
from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    WithJsonSchema,
)

from chatd.api.schema.parts import DocumentedAs, Parts
from chatd.api.schema.tools import Tools
from chatd.api.schema.types import NonEmptyStr, Sanitized
from chatd.domain.chat import BusyBehavior, Status
from chatd.domain.chat import Usage as StoredUsage
from chatd.domain.failure import FailureKind
from chatd.domain.message import Role

MAX_TITLE_LENGTH = 500

MAX_BIGINT = 2**63 - 1
"""Largest bigint of PostgreSQL."""

MessageId = Annotated[int, Field(ge=0, le=MAX_BIGINT)]
"""Id of a stored or queued message."""


LabelName = Annotated[str, StringConstraints(min_length=1, max_length=200), Sanitized]
LabelValue = Annotated[str, StringConstraints(max_length=1000), Sanitized]
Labels = dict[LabelName, LabelValue]
Title = Annotated[str, StringConstraints(max_length=MAX_TITLE_LENGTH), Sanitized]


def _check_base64(value: str) -> str:
    try:
        base64.b64decode(value, validate=True)
    except ValueError:
        raise ValueError("must be base64, as in RFC 4648") from None
    return value


_BASE64_PATTERN = "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
"""Pattern for the document only: decoding a large file is faster than matching it."""

Base64 = Annotated[
    NonEmptyStr,
    AfterValidator(_check_base64),
    WithJsonSchema({"type": "string", "minLength": 1, "pattern": _BASE64_PATTERN}),
]
"""File contents. URLs are not accepted, so that no client makes this host fetch something."""


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class TextInput(_Request):
    """Text."""

    type: Literal["text"]
    text: NonEmptyStr


class FileInput(_Request):
    """Inline file."""

    type: Literal["file"]
    media_type: NonEmptyStr = Field(examples=["image/png"])
    data: Base64 = Field(description="Base64 data.", examples=["aGVsbG8="])


def _content_kind(value: object) -> str | None:
    return "text" if isinstance(value, str) else "parts" if isinstance(value, list) else None


PartInput = Annotated[TextInput | FileInput, Field(discriminator="type")]
ContentInput = Annotated[
    Annotated[NonEmptyStr, Tag("text")]
    | Annotated[list[PartInput], Field(min_length=1), Tag("parts")],
    Discriminator(
        _content_kind,
        custom_error_type="content_type",
        custom_error_message="Input should be a string or a list of parts",
    ),
    Field(description="A non-empty string, or a list of parts.", examples=["Why is the sky blue?"]),
]


class CreateChat(_Request):
    """Request to create a chat."""

    content: ContentInput | None = Field(
        default=None, description="The first message. Without it the chat is `waiting`."
    )
    title: Title = ""
    model: str | None = Field(default=None, description="Name of a model of `GET /models`.")
    system_prompt: str | None = Field(
        default=None,
        description="Instructions for the model, stored as the first message with the role "
        "`system`. They cannot be changed later.",
    )
    labels: Labels = Field(default_factory=dict)
    tools: Tools = Field(default_factory=list)


class UpdateChat(_Request):
    """Changes of a chat. Fields that are absent stay as they are."""

    title: Title | None = None
    labels: Labels | None = Field(
        default=None, description="All labels. They replace the previous ones."
    )
    archived: bool | None = Field(
        default=None,
        description="True to archive the chat and its descendants. Archived chats accept no messages.",
    )


class SendMessage(_Request):
    """Message of the user."""

    content: ContentInput
    model: str | None = Field(
        default=None,
        description="Name of a model of `GET /models`, for this and later messages. Default: the chat's model.",
    )
    busy_behavior: BusyBehavior = Field(
        default=BusyBehavior.QUEUE, description="Behavior if the chat is busy."
    )


class EditMessage(_Request):
    """New content of a user message."""

    content: ContentInput


class Usage(BaseModel):
    """Token counts, as reported by the provider."""

    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int

    @classmethod
    def from_domain(cls, usage: StoredUsage) -> "Usage":
        return cls(
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cache_read_tokens=usage.cache_read_tokens,
            cache_write_tokens=usage.cache_write_tokens,
            reasoning_tokens=usage.reasoning_tokens,
        )


class FailureDetail(BaseModel):
    """Reason of a failed turn, for programs."""

    kind: FailureKind
    message: str
    provider: str | None
    model: str | None
    status_code: int | None = Field(description="HTTP status of the provider's response.")
    retryable: bool = Field(description="True if another attempt may succeed.")
    attempts: int
    at: datetime


class ChatOut(BaseModel):
    """Chat. `last_error` is null unless the status is `error`, `action_deadline` unless it is
    `requires_action`."""

    id: UUID
    owner_id: str
    parent_chat_id: UUID | None
    root_chat_id: UUID
    title: str
    status: Status
    last_error: str | None
    last_error_detail: Annotated[dict[str, Any], DocumentedAs(FailureDetail)] | None
    action_deadline: datetime | None
    archived: bool
    labels: dict[str, str]
    model: str | None
    last_model_config_id: UUID
    version: int
    queue_length: int
    usage: Usage
    created_at: datetime
    updated_at: datetime


class MessageOut(BaseModel):
    """Stored message. Its `id` rises within the chat."""

    id: int
    chat_id: UUID
    role: Role
    content: Parts
    model: str | None
    usage: Usage | None
    finish_reason: str | None = Field(
        description="Reason why the model stopped: `stop`, `length`, `content_filter`, `tool_call`, or a value "
        "of its provider; `interrupted` after an interrupt. Null if no model wrote the message."
    )
    created_at: datetime


class QueuedMessageOut(BaseModel):
    """Message that is queued until the running turn ends."""

    id: int
    chat_id: UUID
    content: Parts
    model: str | None
    created_at: datetime


class SendMessageResult(BaseModel):
    """Accepted message: stored in the history, or queued."""

    queued: bool
    message: MessageOut | None
    queued_message: QueuedMessageOut | None
    chat: ChatOut


class JournalEntryOut(BaseModel):
    """Transition of a chat, as recorded in its journal."""

    version: int
    created_at: datetime
    transition: str
    status: Status
    epoch: int
    worker_id: UUID | None
    data: dict[str, Any]


class ModelOut(BaseModel):
    """Model that a chat may use."""

    id: UUID
    name: str
    provider: str
    context_limit: int | None
    default: bool


Item = TypeVar("Item")


class Page(BaseModel, Generic[Item]):
    """One page of a list."""

    items: list[Item]
    next_cursor: str | None = Field(
        default=None,
        description="Null on the last page. Otherwise pass it to the next request: as `cursor` for chats, "
        "as `after_id` (or `before_id`, if the request had it) for messages, as `after` for the journal.",
    )
