"""The shapes of the API."""

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
"""What the database can count to."""

MessageId = Annotated[int, Field(ge=0, le=MAX_BIGINT)]
"""The id of a message, or of one that waits."""


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
"""For the document; a large file is read faster than it is matched."""

Base64 = Annotated[
    NonEmptyStr,
    AfterValidator(_check_base64),
    WithJsonSchema({"type": "string", "minLength": 1, "pattern": _BASE64_PATTERN}),
]
"""Contents, never an address: nobody makes this host fetch something for them."""


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class TextInput(_Request):
    """Words."""

    type: Literal["text"]
    text: NonEmptyStr


class FileInput(_Request):
    """A file, inline."""

    type: Literal["file"]
    media_type: NonEmptyStr = Field(examples=["image/png"])
    data: Base64 = Field(description="base64", examples=["aGVsbG8="])


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
    Field(description="NonEmptyStr, or a list of parts.", examples=["Why is the sky blue?"]),
]


class CreateChat(_Request):
    content: ContentInput | None = Field(
        default=None, description="The first message; without one the chat waits for it."
    )
    title: Title = ""
    model: str | None = Field(default=None, description="A name of `GET /models`.")
    system_prompt: str | None = Field(
        default=None,
        description="What the model is told before anything else: the first message, of the role "
        "`system`. It cannot be changed later.",
    )
    labels: Labels = Field(default_factory=dict)
    tools: Tools = Field(default_factory=list)


class UpdateChat(_Request):
    title: Title | None = None
    labels: Labels | None = Field(
        default=None, description="All labels; they replace those before."
    )
    archived: bool | None = Field(
        default=None, description="Whether it is put aside: it then takes no message."
    )


class SendMessage(_Request):
    content: ContentInput
    model: str | None = Field(
        default=None,
        description="A name of `GET /models`, for this message and later ones; else the chat's model.",
    )
    busy_behavior: BusyBehavior = Field(
        default=BusyBehavior.QUEUE, description="What to do when the chat is busy."
    )


class EditMessage(_Request):
    content: ContentInput


class Usage(BaseModel):
    """Tokens."""

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
    """Why a turn failed, for programs."""

    kind: FailureKind
    message: str
    provider: str | None
    model: str | None
    status_code: int | None = Field(description="The HTTP status that the provider answered.")
    retryable: bool = Field(description="Whether another attempt may cure it.")
    attempts: int
    at: datetime


class ChatOut(BaseModel):
    """A chat. `last_error` is null unless the status is `error`, `action_deadline` unless it is
    `requires_action`."""

    model_config = ConfigDict(title="Chat")

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
    model_config = ConfigDict(title="Message")

    id: int
    chat_id: UUID
    role: Role
    content: Parts
    model: str | None
    usage: Usage | None
    finish_reason: str | None = Field(
        description="Why the model ended: `stop`, `length`, `content_filter`, `tool_call` or a word of "
        "its vendor's; `interrupted`, when it was stopped. Null if no model wrote this."
    )
    created_at: datetime


class QueuedMessageOut(BaseModel):
    model_config = ConfigDict(title="QueuedMessage")

    id: int
    chat_id: UUID
    content: Parts
    model: str | None
    created_at: datetime


class SendMessageResult(BaseModel):
    """What became of a message: it is in the history, or it waits in the queue."""

    queued: bool
    message: MessageOut | None
    queued_message: QueuedMessageOut | None
    chat: ChatOut


class JournalEntryOut(BaseModel):
    """A row of the chat's journal."""

    model_config = ConfigDict(title="JournalEntry")

    version: int
    created_at: datetime
    transition: str
    status: Status
    epoch: int
    worker_id: UUID | None
    data: dict[str, Any]


class ModelOut(BaseModel):
    model_config = ConfigDict(title="Model")

    id: UUID
    name: str
    provider: str
    context_limit: int | None
    default: bool


Item = TypeVar("Item")


class Page(BaseModel, Generic[Item]):
    """Some items, and where to go on."""

    items: list[Item]
    next_cursor: str | None = Field(
        default=None,
        description="Null at the end. Else give it to the same request again: of chats as `cursor`, "
        "of messages as `after_id` (or as `before_id`, if that was given), of the journal as `after`.",
    )
