"""What a stream may send: a schema for every type of event.

The document describes a stream as a sequence of these; the wire has each as server-sent events do,
with ``data`` as JSON. Like content parts they are dressed by hand, and nothing is made of these
models while a stream runs: the tests see that what is sent fits them.
"""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field, RootModel
from starlette.responses import Response

from chatd.api.schema.parts import AnyDelta, Deltas
from chatd.api.schema.resources import (
    ChatOut,
    FailureDetail,
    Labels,
    MessageOut,
    QueuedMessageOut,
    Title,
)
from chatd.domain.chat import Status


class Empty(BaseModel):
    """Nothing more to say."""


class PendingToolCall(BaseModel):
    """A call of a tool that you run."""

    tool_call_id: str
    tool_name: str
    args: str = Field(description="JSON, as the model wrote it.")


class ActionRequiredData(BaseModel):
    """The model waits for these results, until the deadline."""

    calls: list[PendingToolCall]
    deadline: datetime


class SnapshotData(BaseModel):
    """The whole chat, as of one moment."""

    chat: ChatOut
    messages: list[MessageOut]
    queue: list[QueuedMessageOut]
    parts: Deltas = Field(description="What the answer under way has said so far.")
    action_required: ActionRequiredData | None = Field(
        description="What you are to do, if the status is `requires_action`."
    )


class StatusChangedData(BaseModel):
    status: Status
    epoch: int = Field(description="Rises with each claim by a worker, and with each edit.")


class QueueChangedData(BaseModel):
    """What changed in the queue."""

    queue_length: int
    added: int | None = Field(description="The id of a message that is queued now.")
    removed: list[int] = Field(
        description="The ids of those no longer queued, whether answered or removed."
    )
    head: int | None = Field(description="The id of one that was brought to the front.")


class RetryScheduledData(BaseModel):
    """The model is tried again, later."""

    attempt: int
    delay_seconds: float
    next_attempt_at: datetime
    failure: FailureDetail


class TurnFailedData(BaseModel):
    """The turn failed."""

    last_error: str
    last_error_detail: FailureDetail


class ChatUpdatedData(BaseModel):
    title: Title
    labels: Labels
    archived: bool


class HistoryResetData(BaseModel):
    """Drop the messages from this id on, and the preview; the events that follow bring what is new."""

    from_message_id: int


class ChatDeletedData(BaseModel):
    """This chat is gone."""

    id: UUID


class StreamResetData(BaseModel):
    reason: str


class ChatListSnapshotData(BaseModel):
    """Your most recent chats."""

    items: list[ChatOut]
    next_cursor: str | None = Field(description="For `GET /chats`, to go on where these end.")


class _WithCursor(BaseModel):
    id: str = Field(description="Resume with this, and you get exactly what follows.")


class _WithoutCursor(BaseModel):
    id: str | None = Field(default=None, description="Resume with the last id that you have.")


class Snapshot(_WithCursor):
    """The chat as it is: show it, and drop what you have shown of it."""

    event: Literal["snapshot"]
    data: SnapshotData


class StatusChanged(_WithCursor):
    """What the chat is doing now."""

    event: Literal["status"]
    data: StatusChangedData


class MessageStored(_WithCursor):
    """A message was stored. If it is the assistant's, it replaces the preview."""

    event: Literal["message"]
    data: MessageOut


class MessagePart(_WithCursor):
    """A piece of the answer under way, to be added to the preview."""

    event: Literal["message_part"]
    data: AnyDelta


class PreviewReset(_WithCursor):
    """Clear the preview: the answer is streamed again, or not at all."""

    event: Literal["preview_reset"]
    data: Empty


class HistoryReset(_WithCursor):
    """A message was edited, or the history cleared."""

    event: Literal["history_reset"]
    data: HistoryResetData


class QueueChanged(_WithCursor):
    """A message was queued, or is no longer."""

    event: Literal["queue_update"]
    data: QueueChangedData


class ActionRequired(_WithCursor):
    """The model calls tools that you run: post their results."""

    event: Literal["action_required"]
    data: ActionRequiredData


class RetryScheduled(_WithCursor):
    """The model failed in a way that may pass."""

    event: Literal["retry"]
    data: RetryScheduledData


class TurnFailed(_WithCursor):
    """The turn failed, and why."""

    event: Literal["error"]
    data: TurnFailedData


class ChatUpdated(_WithCursor):
    """Title, labels or archived: all three as they are now."""

    event: Literal["chat"]
    data: ChatUpdatedData


class ChatDeleted(_WithoutCursor):
    """A chat was deleted; its own stream ends with this."""

    event: Literal["deleted"]
    data: ChatDeletedData


class StreamReset(_WithoutCursor):
    """The cursor that you named cannot be resumed; a `snapshot` follows."""

    event: Literal["reset"]
    data: StreamResetData


class Draining(_WithoutCursor):
    """This process stops: connect again, and another one goes on."""

    event: Literal["draining"]
    data: Empty


class ChatListSnapshot(_WithoutCursor):
    """Your chats as they are."""

    event: Literal["snapshot"]
    data: ChatListSnapshotData


class ChatChanged(_WithoutCursor):
    """A chat moved: this is all of it. Drop it if your `version` of it is as high."""

    event: Literal["chat"]
    data: ChatOut


class ChatEvent(
    RootModel[
        Annotated[
            Snapshot
            | StatusChanged
            | MessageStored
            | MessagePart
            | PreviewReset
            | HistoryReset
            | QueueChanged
            | ActionRequired
            | RetryScheduled
            | TurnFailed
            | ChatUpdated
            | ChatDeleted
            | StreamReset
            | Draining,
            Field(discriminator="event"),
        ]
    ]
):
    """An event of one chat's stream."""


class ListEvent(
    RootModel[
        Annotated[
            ChatListSnapshot | ChatChanged | ChatDeleted | StreamReset | Draining,
            Field(discriminator="event"),
        ]
    ]
):
    """An event of the stream of all your chats."""


class SseMediaType(Response):
    """Names the media type of a stream to the document."""

    media_type = "text/event-stream"


_DESCRIPTION = """Server-sent events. OpenAPI 3.1 has no word for the schema of one event in a stream, so
this schema is that of each event: `event` and `id` are the fields of these names, and `data` is that
field, read as JSON. Lines that begin with a colon keep the connection alive and say nothing."""


def sse_response(event_model: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a route that streams these events; its class is ``SseMediaType``."""
    return {int(HTTPStatus.OK): {"description": _DESCRIPTION, "model": event_model}}
