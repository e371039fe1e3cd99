"""Schemas of stream events, one class for each type.

The OpenAPI document describes a stream as a sequence of these. On the wire each is a server-sent event
with ``data`` as JSON. Streams encode plain mappings and do not instantiate these models. Tests validate
what is sent against them.
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
    """Empty object."""


class PendingToolCall(BaseModel):
    """Call of a client tool that has no result yet."""

    tool_call_id: str
    tool_name: str
    args: str = Field(description="JSON as written by the model.")


class ActionRequiredData(BaseModel):
    """Pending tool calls, and the deadline for their results."""

    calls: list[PendingToolCall]
    deadline: datetime


class SnapshotData(BaseModel):
    """Complete chat at one point in time."""

    chat: ChatOut
    messages: list[MessageOut]
    queue: list[QueuedMessageOut]
    parts: Deltas = Field(description="Parts of the running answer so far.")
    action_required: ActionRequiredData | None = Field(
        description="Pending tool calls, if the status is `requires_action`."
    )


class StatusChangedData(BaseModel):
    """New status of the chat."""

    status: Status
    epoch: int = Field(
        description="Fencing token of the chat. It rises with each claim and each edit."
    )


class QueueChangedData(BaseModel):
    """Change of the queue."""

    queue_length: int
    added: int | None = Field(description="Id of a message that was queued.")
    removed: list[int] = Field(
        description="Ids of messages that left the queue, whether promoted or removed."
    )
    head: int | None = Field(description="Id of a message that was moved to the front.")


class RetryScheduledData(BaseModel):
    """Scheduled retry of a failed step."""

    attempt: int
    delay_seconds: float
    next_attempt_at: datetime
    failure: FailureDetail


class TurnFailedData(BaseModel):
    """Reason of the failed turn."""

    last_error: str
    last_error_detail: FailureDetail


class ChatUpdatedData(BaseModel):
    """Title, labels and archived flag of the chat."""

    title: Title
    labels: Labels
    archived: bool


class HistoryResetData(BaseModel):
    """First message that is no longer part of the history. Drop it, all later messages and the preview."""

    from_message_id: int


class ChatDeletedData(BaseModel):
    """Id of the deleted chat."""

    id: UUID


class StreamResetData(BaseModel):
    """Reason why the stream cannot be resumed."""

    reason: str


class ChatListSnapshotData(BaseModel):
    """The most recently updated chats."""

    items: list[ChatOut]
    next_cursor: str | None = Field(
        description="Cursor for `GET /chats` to read the chats that follow."
    )


class _WithCursor(BaseModel):
    id: str = Field(description="Cursor. Resuming with it delivers exactly the events that follow.")


class _WithoutCursor(BaseModel):
    id: str | None = Field(default=None, description="Absent. Resume with the last id received.")


class Snapshot(_WithCursor):
    """Complete state of the chat. It replaces everything received before."""

    event: Literal["snapshot"]
    data: SnapshotData


class StatusChanged(_WithCursor):
    """Change of the chat's status."""

    event: Literal["status"]
    data: StatusChangedData


class MessageStored(_WithCursor):
    """Stored message. A message of the assistant replaces the preview."""

    event: Literal["message"]
    data: MessageOut


class MessagePart(_WithCursor):
    """Delta of the running answer, to be appended to the preview."""

    event: Literal["message_part"]
    data: AnyDelta


class PreviewReset(_WithCursor):
    """Request to clear the preview. The answer is streamed again, or not at all."""

    event: Literal["preview_reset"]
    data: Empty


class HistoryReset(_WithCursor):
    """Edit of a message, or clearing of the history."""

    event: Literal["history_reset"]
    data: HistoryResetData


class QueueChanged(_WithCursor):
    """Change of the message queue."""

    event: Literal["queue_update"]
    data: QueueChangedData


class ActionRequired(_WithCursor):
    """Call of client tools. The client posts their results."""

    event: Literal["action_required"]
    data: ActionRequiredData


class RetryScheduled(_WithCursor):
    """Failure of a model call that will be retried."""

    event: Literal["retry"]
    data: RetryScheduledData


class TurnFailed(_WithCursor):
    """Failure of the turn, with its reason."""

    event: Literal["error"]
    data: TurnFailedData


class ChatUpdated(_WithCursor):
    """Change of title, labels or archived flag."""

    event: Literal["chat"]
    data: ChatUpdatedData


class ChatDeleted(_WithoutCursor):
    """Deletion of a chat. It is the last event of the chat's own stream."""

    event: Literal["deleted"]
    data: ChatDeletedData


class StreamReset(_WithoutCursor):
    """Refusal of the cursor of the request. A `snapshot` follows."""

    event: Literal["reset"]
    data: StreamResetData


class Draining(_WithoutCursor):
    """Shutdown of this process. Reconnect to continue on another one."""

    event: Literal["draining"]
    data: Empty


class ChatListSnapshot(_WithoutCursor):
    """Snapshot of the list of chats."""

    event: Literal["snapshot"]
    data: ChatListSnapshotData


class ChatChanged(_WithoutCursor):
    """Complete state of a changed chat. Ignore it if the version already received is as high."""

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
    """Event of the stream of one chat."""


class ListEvent(
    RootModel[
        Annotated[
            ChatListSnapshot | ChatChanged | ChatDeleted | StreamReset | Draining,
            Field(discriminator="event"),
        ]
    ]
):
    """Event of the stream of all chats of the owner."""


class SseMediaType(Response):
    """Response class that names the media type of a stream in the document."""

    media_type = "text/event-stream"


_DESCRIPTION = """Server-sent events. OpenAPI 3.1 cannot describe the events of a stream, so this schema is that of
each event: `event` and `id` are the fields of these names, and `data` is that field, parsed as JSON. Lines
that begin with a colon are comments that keep the connection alive."""


def sse_response(event_model: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """Return the ``responses`` of a route that streams these events. Its response class is ``SseMediaType``."""
    return {int(HTTPStatus.OK): {"description": _DESCRIPTION, "model": event_model}}
