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

from chatd.api.parts import AnyFragment, Fragments
from chatd.api.schemas import ChatOut, FailureDetail, Labels, MessageOut, QueuedMessageOut, Title
from chatd.domain.chat import Status


class Nothing(BaseModel):
    """Nothing more to say."""


class OpenCall(BaseModel):
    """A call of a tool that you run."""

    tool_call_id: str
    tool_name: str
    args: str = Field(description="JSON, as the model wrote it.")


class ActionRequired(BaseModel):
    """The model waits for these results, until the deadline."""

    calls: list[OpenCall]
    deadline: datetime


class ChatSnapshot(BaseModel):
    """The whole chat, as of one moment."""

    chat: ChatOut
    messages: list[MessageOut]
    queue: list[QueuedMessageOut]
    parts: Fragments = Field(description="What the answer under way has said so far.")
    action_required: ActionRequired | None = Field(
        description="What you are to do, if the status is `requires_action`."
    )


class StatusChange(BaseModel):
    status: Status
    epoch: int = Field(description="Rises whenever another process takes the chat up.")


class QueueChange(BaseModel):
    """What changed in the queue."""

    queue_length: int
    added: int | None = Field(description="The id of a message that waits now.")
    removed: list[int] = Field(description="The ids of those that no longer wait, said or not.")
    head: int | None = Field(description="The id of one that was brought to the front.")


class RetrySoon(BaseModel):
    """The model is tried again, later."""

    attempt: int
    delay_seconds: float
    next_attempt_at: datetime
    failure: FailureDetail


class TurnError(BaseModel):
    """The turn failed."""

    last_error: str
    last_error_detail: FailureDetail


class Described(BaseModel):
    title: Title
    labels: Labels
    archived: bool


class HistoryReset(BaseModel):
    """Drop the messages with this id and later ones, and the preview; what follows tells the rest."""

    from_message_id: int


class Gone(BaseModel):
    """This chat is gone."""

    id: UUID


class Reason(BaseModel):
    reason: str


class ChatList(BaseModel):
    """Your most recent chats."""

    items: list[ChatOut]
    next_cursor: str | None = Field(description="For `GET /chats`, to go on where these end.")


class _Placed(BaseModel):
    id: str = Field(description="Resume with this, and you get exactly what follows.")


class _Unplaced(BaseModel):
    id: str | None = Field(default=None, description="Resume with the last id that you have.")


class SnapshotEvent(_Placed):
    """The chat as it is: show it, and drop what you have shown of it."""

    event: Literal["snapshot"]
    data: ChatSnapshot


class StatusEvent(_Placed):
    """What the chat is doing now."""

    event: Literal["status"]
    data: StatusChange


class MessageEvent(_Placed):
    """A message was stored. If it is the assistant's, it replaces the preview."""

    event: Literal["message"]
    data: MessageOut


class MessagePartEvent(_Placed):
    """A piece of the answer under way, to be added to the preview."""

    event: Literal["message_part"]
    data: AnyFragment


class PreviewResetEvent(_Placed):
    """Clear the preview: it will be said again, or not at all."""

    event: Literal["preview_reset"]
    data: Nothing


class HistoryResetEvent(_Placed):
    """A message was edited, or the history cleared."""

    event: Literal["history_reset"]
    data: HistoryReset


class QueueUpdateEvent(_Placed):
    """A message waits, or does no longer."""

    event: Literal["queue_update"]
    data: QueueChange


class ActionRequiredEvent(_Placed):
    """The model calls tools that you run: post their results."""

    event: Literal["action_required"]
    data: ActionRequired


class RetryEvent(_Placed):
    """The model failed in a way that may pass."""

    event: Literal["retry"]
    data: RetrySoon


class ErrorEvent(_Placed):
    """The turn failed, and why."""

    event: Literal["error"]
    data: TurnError


class DescribedEvent(_Placed):
    """Title, labels or archived: all three as they are now."""

    event: Literal["chat"]
    data: Described


class DeletedEvent(_Unplaced):
    """A chat was deleted; its own stream ends with this."""

    event: Literal["deleted"]
    data: Gone


class ResetEvent(_Unplaced):
    """What you named as your place cannot be resumed; a `snapshot` follows."""

    event: Literal["reset"]
    data: Reason


class DrainingEvent(_Unplaced):
    """This process stops: connect again, and another one goes on."""

    event: Literal["draining"]
    data: Nothing


class ListSnapshotEvent(_Unplaced):
    """Your chats as they are."""

    event: Literal["snapshot"]
    data: ChatList


class ChatMovedEvent(_Unplaced):
    """A chat moved: this is all of it. Drop it if you have this `version` of it already."""

    event: Literal["chat"]
    data: ChatOut


class ChatEvent(
    RootModel[
        Annotated[
            SnapshotEvent
            | StatusEvent
            | MessageEvent
            | MessagePartEvent
            | PreviewResetEvent
            | HistoryResetEvent
            | QueueUpdateEvent
            | ActionRequiredEvent
            | RetryEvent
            | ErrorEvent
            | DescribedEvent
            | DeletedEvent
            | ResetEvent
            | DrainingEvent,
            Field(discriminator="event"),
        ]
    ]
):
    """An event of one chat's stream."""


class ListEvent(
    RootModel[
        Annotated[
            ListSnapshotEvent | ChatMovedEvent | DeletedEvent | ResetEvent | DrainingEvent,
            Field(discriminator="event"),
        ]
    ]
):
    """An event of the stream of all your chats."""


class Sse(Response):
    """Names the media type of a stream to the document."""

    media_type = "text/event-stream"


_DESCRIPTION = """Server-sent events. OpenAPI 3.1 has no word for the schema of one event in a stream, so
this schema is that of each event: `event` and `id` are the fields of these names, and `data` is that
field, read as JSON. Lines that begin with a colon keep the connection alive and say nothing."""


def streamed(model: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a route that streams these events; its class is ``Sse``."""
    return {int(HTTPStatus.OK): {"description": _DESCRIPTION, "model": model}}
