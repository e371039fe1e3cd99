"""The events of the streams, each declared once.

An event's name is that of its schema in the OpenAPI document, and of its class in both clients, which
are generated from that. A new event takes a type in ``domain.stream_events``, a row in ``ChatEvent``, and
its renderers.

The models only describe events. While a stream runs, its data are plain mappings.
"""

from datetime import datetime
from functools import reduce
from operator import or_
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field, RootModel, create_model
from starlette.responses import JSONResponse

from chatd.api.schema.actions import Action
from chatd.api.schema.parts import Deltas, PartDelta
from chatd.api.schema.resources import Chat, FailureDetail, Message, QueuedMessage
from chatd.api.schema.types import Labels, Title
from chatd.domain.answer import Decision
from chatd.domain.chat import Status
from chatd.domain.notice import MAX_NOTICES
from chatd.domain.stream_events import StreamEventType


class ActionRequiredData(BaseModel):
    """Calls wait for people or for the client. Post the answers before the deadline of each."""

    calls: list[Action]
    deadline: datetime = Field(description="The earliest of the calls.")


class AnsweredCall(BaseModel):
    """A call that was answered, or whose time is over."""

    tool_call_id: str = Field(examples=["call_1"])
    tool_name: str = Field(examples=["pay"])
    decision: Decision = Field(examples=["allow"])


class ActionAnsweredData(BaseModel):
    """Calls that the chat waits for were answered, or their time is over."""

    answered: list[AnsweredCall]
    open: list[str] = Field(
        description="The ids of the calls that the chat still waits for.", examples=[[]]
    )
    deadline: datetime | None = Field(
        description="The earliest of these. Null if there are none.", examples=[None]
    )


class ClosedToolCall(BaseModel):
    """A call of a server tool that has its result."""

    tool_call_id: str = Field(examples=["call_1"])
    tool_name: str = Field(examples=["search"])
    is_error: bool


class ToolCallsChangedData(BaseModel):
    """Server tools have ended or were started. When all have ended, one message has all their results."""

    closed: list[ClosedToolCall] = Field(description="The calls that have ended.")
    started: list[str] = Field(
        description="The ids of calls that were started after the message with them was stored: because "
        "others had to end before, with an answer, or by another worker once more.",
        examples=[[]],
    )
    asked: list[str] = Field(
        description="The ids of calls whose tools need the input of a person. `action_required` follows.",
        examples=[[]],
    )


class Notice(BaseModel):
    """A notice about an MCP server whose tools the chat should have."""

    server: str = Field(examples=["time"])
    message: str = Field(examples=["MCP server time is not available: its command was not found"])


class NoticesData(BaseModel):
    """The turn goes on without these servers, or calls of their tools fail. For people."""

    notices: list[Notice] = Field(max_length=MAX_NOTICES)


class SnapshotData(BaseModel):
    """The chat as it is. It replaces everything shown of the chat before."""

    chat: Chat
    messages: list[Message] = Field(
        description="The newest messages, of about 1 MiB, and those whose tool calls are pending."
    )
    older_cursor: str | None = Field(
        description="The `before_id` with which `GET /chats/{id}/messages` continues with older messages. "
        "Null if there are none.",
        examples=[None],
    )
    queue: list[QueuedMessage] = Field(
        description="The front of the queue, of about 1 MiB. `queue_length` of the chat is all of it."
    )
    parts: Deltas = Field(description="The preview of the current step so far.", examples=[[]])
    action_required: ActionRequiredData | None = Field(
        description="Calls that the chat waits for if the status is `requires_action`."
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


class HistoryCompactedData(BaseModel):
    """A summary stands for messages, or no longer does. Those up to this id are `compacted`, and no others.

    A system prompt never is. Nothing leaves the history that people are shown.
    """

    compacted_until: int = Field(description="0 if no message is.", examples=[0])


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

    items: list[Chat]
    next_cursor: str | None = Field(
        description="The `cursor` with which `GET /chats` continues after these."
    )


class _Event(BaseModel):
    id: str | None = Field(default=None, description="Resume with the last id that you have.")


class _ResumableEvent(BaseModel):
    id: str = Field(
        description="Resume with this to get exactly the events that follow.", examples=["3.1.4~1"]
    )


def _event(
    event_type: StreamEventType,
    data: Any,
    name: str = "",
    description: str = "",
    *,
    kind: type[BaseModel] = _ResumableEvent,
) -> type[BaseModel]:
    """Return the model of an event. It has the name and description of its ``data``, or those given."""
    name, description = name or data.__name__.removesuffix("Data"), description or data.__doc__
    fields: dict[str, Any] = {"event": (Literal[event_type.value], ...), "data": (data, ...)}
    return create_model(name, __base__=kind, __doc__=description, **fields)


def _stream(name: str, description: str, *events: type[BaseModel]) -> type[RootModel[Any]]:
    """Return the model of any event of a stream."""
    fields: dict[str, Any] = {"root": (reduce(or_, events), Field(discriminator="event"))}
    return create_model(name, __base__=RootModel[Any], __doc__=description, **fields)


_E = StreamEventType
_ENDINGS = (
    _event(_E.DELETED, ChatDeletedData, kind=_Event),
    _event(_E.RESET, StreamResetData, kind=_Event),
    _event(_E.DRAINING, DrainingData, kind=_Event),
)

ChatEvent = _stream(
    "ChatEvent",
    "An event of one chat's stream.",
    _event(_E.SNAPSHOT, SnapshotData),
    _event(_E.STATUS, StatusChangedData),
    _event(
        _E.MESSAGE,
        Message,
        "MessageStored",
        "A message was stored. A message of the assistant or of tools replaces the preview.",
    ),
    _event(
        _E.MESSAGE_PART,
        PartDelta,
        "MessagePart",
        "A delta of the answer under way, or progress of a tool. Add it to the preview.",
    ),
    _event(_E.PREVIEW_RESET, PreviewResetData, kind=_Event),
    _event(_E.HISTORY_RESET, HistoryResetData),
    _event(_E.COMPACTION, HistoryCompactedData),
    _event(_E.QUEUE_UPDATE, QueueChangedData),
    _event(_E.ACTION_REQUIRED, ActionRequiredData),
    _event(_E.ACTION_ANSWERED, ActionAnsweredData),
    _event(_E.TOOL_CALLS, ToolCallsChangedData),
    _event(_E.NOTICES, NoticesData, "NoticesGiven"),
    _event(_E.RETRY, RetryScheduledData),
    _event(_E.ERROR, TurnFailedData),
    _event(_E.CHAT, ChatUpdatedData),
    *_ENDINGS,
)
ChatListEvent = _stream(
    "ChatListEvent",
    "An event of the stream of all your chats.",
    _event(_E.SNAPSHOT, ChatListSnapshotData, kind=_Event),
    _event(
        _E.CHAT,
        Chat,
        "ChatChanged",
        "A chat changed: the whole chat. Ignore it if you have a `version` of it as high as this.",
        kind=_Event,
    ),
    *_ENDINGS,
)


class SseResponse(JSONResponse):
    """Response class that gives the document the media type of a stream of ``response_model``."""

    media_type = "text/event-stream"


SSE_DESCRIPTION = """Server-sent events. OpenAPI 3.1 cannot describe the events of a stream one by one, so
this schema is that of each event: `event` and `id` are the fields of these names, and `data` is that
field, parsed as JSON. Lines that begin with a colon are comments that keep the connection alive."""
