"""The events of the streams, each declared once.

``CHAT_EVENTS`` and ``CHAT_LIST_EVENTS`` are read by the encoder (``api.sse``), by the OpenAPI document
and by the tests. An event's name is that of its schema, and of its class in every client. A new event
takes a type in ``domain.stream_events``, a row here, and its renderers.

The models only describe events. While a stream runs, its data are plain mappings.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from http import HTTPStatus
from operator import or_
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field, RootModel, create_model
from starlette.responses import Response

from chatd.api.schema.parts import Deltas, PartDelta
from chatd.api.schema.resources import (
    ChatOut,
    FailureDetail,
    MessageOut,
    QueuedMessageOut,
)
from chatd.api.schema.types import Labels, Title
from chatd.domain.chat import Status
from chatd.domain.stream_events import StreamEventType

# -- data of the events ---------------------------------------------------------------------------


class PendingToolCall(BaseModel):
    """A call of a tool that the client runs."""

    tool_call_id: str = Field(examples=["call_1"])
    tool_name: str = Field(examples=["weather"])
    args: str = Field(description="JSON as the model wrote it.", examples=['{"city": "Bern"}'])


class ActionRequiredData(BaseModel):
    """The model calls tools that the client runs. Post their results before the deadline."""

    calls: list[PendingToolCall]
    deadline: datetime


class SnapshotData(BaseModel):
    """The chat as it is. It replaces everything shown of the chat before."""

    chat: ChatOut
    messages: list[MessageOut]
    queue: list[QueuedMessageOut]
    parts: Deltas = Field(description="The preview of the current step so far.", examples=[[]])
    action_required: ActionRequiredData | None = Field(
        description="The pending tool calls if the status is `requires_action`."
    )


class StatusChangedData(BaseModel):
    """The chat's status changed."""

    status: Status = Field(examples=["running"])
    epoch: int = Field(description="Rises with each claim by a worker, and with each edit.")


class QueueChangedData(BaseModel):
    """The chat's queue changed."""

    queue_length: int
    added: int | None = Field(description="The id of a newly queued message.", examples=[7])
    removed: list[int] = Field(
        description="The ids of messages that left the queue, answered or removed.", examples=[[]]
    )
    head: int | None = Field(description="The id of a message that was moved to the front.")


class RetryScheduledData(BaseModel):
    """The model call failed and will be tried again."""

    attempt: int
    delay_seconds: float = Field(examples=[1.3])
    next_attempt_at: datetime
    failure: FailureDetail


class TurnFailedData(BaseModel):
    """The turn failed."""

    last_error: str = Field(examples=["The model is overloaded."])
    last_error_detail: FailureDetail


class ChatUpdatedData(BaseModel):
    """The title, the labels or the archived flag changed. All three are as they are now."""

    title: Title = Field(examples=["The sky"])
    labels: Labels = Field(examples=[{"topic": "physics"}])
    archived: bool


class HistoryResetData(BaseModel):
    """A message was edited, or the history cleared. Drop the messages from this id on, and the preview."""

    from_message_id: int


class PreviewResetData(BaseModel):
    """Clear the preview. The answer is streamed again, or not at all."""


class ChatDeletedData(BaseModel):
    """A chat was deleted. Its own stream ends with this."""

    id: UUID


class StreamResetData(BaseModel):
    """The stream cannot resume. A `snapshot` follows."""

    reason: str = Field(examples=["this cursor cannot be resumed; what follows is a snapshot"])


class DrainingData(BaseModel):
    """This process stops. Connect again, and another one continues."""


class ChatListSnapshotData(BaseModel):
    """The most recently updated chats."""

    items: list[ChatOut]
    next_cursor: str | None = Field(
        description="The `cursor` with which `GET /chats` continues after these."
    )


# -- the events -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EventDeclaration:
    """Declaration of a stream event: its name in all clients, its type on the wire, its data."""

    name: str
    event_type: StreamEventType
    data: Any
    description: str
    example_id: str | None
    """None for an event that may come without an ``id``."""

    @classmethod
    def of(
        cls, event_type: StreamEventType, data: type[BaseModel], example_id: str | None = None
    ) -> "EventDeclaration":
        """Declare an event by the class of its data, which is named and described after the event."""
        name = data.__name__.removesuffix("Data")
        return cls(name, event_type, data, data.__doc__ or "", example_id)

    def model(self) -> type[BaseModel]:
        """Return the schema of the event."""
        resume_with = "Resume with this to get exactly the events that follow."
        resume_with_last = "Resume with the last id that you have."
        fields: dict[str, Any] = {
            "id": (str, Field(description=resume_with, examples=[self.example_id]))
            if self.example_id
            else (str | None, Field(default=None, description=resume_with_last)),
            "event": (Literal[self.event_type.value], ...),
            "data": (self.data, ...),
        }
        model: type[BaseModel] = create_model(self.name, __doc__=self.description, **fields)
        return model


_E = StreamEventType
_ENDINGS = (
    EventDeclaration.of(_E.DELETED, ChatDeletedData),
    EventDeclaration.of(_E.RESET, StreamResetData),
    EventDeclaration.of(_E.DRAINING, DrainingData),
)

CHAT_EVENTS: Sequence[EventDeclaration] = (
    EventDeclaration.of(_E.SNAPSHOT, SnapshotData, "3.1.4"),
    EventDeclaration.of(_E.STATUS, StatusChangedData, "2.1.0"),
    EventDeclaration(
        "MessageStored",
        _E.MESSAGE,
        MessageOut,
        "A message was stored. A message of the assistant replaces the preview.",
        "2.1.4+1",
    ),
    EventDeclaration(
        "MessagePart",
        _E.MESSAGE_PART,
        PartDelta,
        "A delta of the answer under way. Add it to the preview.",
        "2.1.1",
    ),
    EventDeclaration.of(_E.PREVIEW_RESET, PreviewResetData, "2.1.4+1"),
    EventDeclaration.of(_E.HISTORY_RESET, HistoryResetData, "3.1.4+1"),
    EventDeclaration.of(_E.QUEUE_UPDATE, QueueChangedData, "3.1.4"),
    EventDeclaration.of(_E.ACTION_REQUIRED, ActionRequiredData, "3.1.4+2"),
    EventDeclaration.of(_E.RETRY, RetryScheduledData, "3.1.4"),
    EventDeclaration.of(_E.ERROR, TurnFailedData, "3.1.4+1"),
    EventDeclaration.of(_E.CHAT, ChatUpdatedData, "4.1.4"),
    *_ENDINGS,
)
"""Events of a chat's stream."""

CHAT_LIST_EVENTS: Sequence[EventDeclaration] = (
    EventDeclaration.of(_E.SNAPSHOT, ChatListSnapshotData),
    EventDeclaration(
        "ChatChanged",
        _E.CHAT,
        ChatOut,
        "A chat changed: the whole chat. Ignore it if you have a `version` of it as high as this.",
        None,
    ),
    *_ENDINGS,
)
"""Events of the stream of a caller's chats."""


# -- the document ---------------------------------------------------------------------------------

_MODELS = {declared: declared.model() for declared in (*CHAT_EVENTS, *CHAT_LIST_EVENTS)}


def _union(
    name: str, declarations: Sequence[EventDeclaration], description: str
) -> type[BaseModel]:
    fields: dict[str, Any] = {
        "root": (reduce(or_, map(_MODELS.get, declarations)), Field(discriminator="event"))
    }
    union: type[BaseModel] = create_model(
        name, __base__=RootModel[Any], __doc__=description, **fields
    )
    return union


ChatEvent = _union("ChatEvent", CHAT_EVENTS, "An event of one chat's stream.")
ChatListEvent = _union(
    "ChatListEvent", CHAT_LIST_EVENTS, "An event of the stream of all your chats."
)


class SseMediaType(Response):
    """Response class that gives the document the media type of a stream."""

    media_type = "text/event-stream"


_DESCRIPTION = """Server-sent events. OpenAPI 3.1 cannot describe the events of a stream one by one, so
this schema is that of each event: `event` and `id` are the fields of these names, and `data` is that
field, parsed as JSON. Lines that begin with a colon are comments that keep the connection alive."""


def sse_response(event_model: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """Return the ``responses`` of a route that streams these events. Its class is ``SseMediaType``."""
    return {int(HTTPStatus.OK): {"description": _DESCRIPTION, "model": event_model}}
