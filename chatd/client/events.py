"""The events of streams, one class each, so that ``match`` and a type checker know what is in ``data``.

``id`` is the cursor that follows the event; come back with it and nothing is missed or told twice.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeAlias, TypedDict, TypeVar, get_args

from chatd.client.sse import ServerSentEvent
from chatd.client.types import (
    Chat,
    FailureDetail,
    Message,
    PartDelta,
    QueuedMessage,
    Status,
    ToolCall,
)

Data = TypeVar("Data")


@dataclass(frozen=True)
class _Event(Generic[Data]):
    event: ClassVar[str]
    """Its name on the wire."""

    data: Data
    id: str | None = None


class StatusChangedData(TypedDict):
    status: Status
    epoch: int


class QueueChangedData(TypedDict):
    """Ids of queued messages: what came, what went (said or not), what was brought to the front."""

    queue_length: int
    added: int | None
    removed: list[int]
    head: int | None


class RetryScheduledData(TypedDict):
    attempt: int
    delay_seconds: float
    next_attempt_at: str
    failure: FailureDetail


class TurnFailedData(TypedDict):
    last_error: str
    last_error_detail: FailureDetail


class ChatUpdatedData(TypedDict):
    title: str
    labels: dict[str, str]
    archived: bool


class ActionRequiredData(TypedDict):
    calls: list[ToolCall]
    deadline: str


class SnapshotData(TypedDict):
    """``parts`` are the pieces of the answer under way."""

    chat: Chat
    messages: list[Message]
    queue: list[QueuedMessage]
    parts: list[PartDelta]
    action_required: ActionRequiredData | None


class HistoryResetData(TypedDict):
    from_message_id: int


class ChatDeletedData(TypedDict):
    id: str


class StreamResetData(TypedDict):
    reason: str


class ChatListSnapshotData(TypedDict):
    items: list[Chat]
    next_cursor: str | None


class Snapshot(_Event[SnapshotData]):
    """``snapshot``: the chat as it is; forget what was before."""

    event = "snapshot"


class StatusChanged(_Event[StatusChangedData]):
    """``status``: what the chat is doing."""

    event = "status"


class MessageStored(_Event[Message]):
    """``message``: a message is in the history; the assistant's replaces the preview."""

    event = "message"


class MessagePart(_Event[PartDelta]):
    """``message_part``: a piece more of the answer under way."""

    event = "message_part"


class PreviewReset(_Event[dict[str, Any]]):
    """``preview_reset``: the answer is streamed again, or not at all."""

    event = "preview_reset"


class QueueChanged(_Event[QueueChangedData]):
    """``queue_update``: who waits."""

    event = "queue_update"


class RetryScheduled(_Event[RetryScheduledData]):
    """``retry``: the model failed and is tried again."""

    event = "retry"


class TurnFailed(_Event[TurnFailedData]):
    """``error``: the turn failed, and why."""

    event = "error"


class ActionRequired(_Event[ActionRequiredData]):
    """``action_required``: the client is to run tools and submit their results."""

    event = "action_required"


class HistoryReset(_Event[HistoryResetData]):
    """``history_reset``: messages from this one on are gone, and the preview."""

    event = "history_reset"


class ChatUpdated(_Event[ChatUpdatedData]):
    """``chat`` in a chat's own stream: title, labels, archived."""

    event = "chat"


class ChatDeleted(_Event[ChatDeletedData]):
    """``publish_deleted``: the chat is gone."""

    event = "deleted"


class StreamReset(_Event[StreamResetData]):
    """``reset``: the cursor could not be resumed; a snapshot follows."""

    event = "reset"


class ChatListSnapshot(_Event[ChatListSnapshotData]):
    """``snapshot`` in the stream of all chats: the most recent ones."""

    event = "snapshot"


class ChatChanged(_Event[Chat]):
    """``chat`` in the stream of all chats: one of them, as it is now."""

    event = "chat"


@dataclass(frozen=True, slots=True)
class UnknownEvent:
    """What only a newer server says. Pass it by."""

    event: str
    data: Any
    id: str | None = None


Event: TypeAlias = (
    Snapshot
    | StatusChanged
    | MessageStored
    | MessagePart
    | PreviewReset
    | QueueChanged
    | RetryScheduled
    | TurnFailed
    | ActionRequired
    | HistoryReset
    | ChatUpdated
    | ChatDeleted
    | StreamReset
    | UnknownEvent
)
"""What happens in one chat."""

ChatListEvent: TypeAlias = ChatListSnapshot | ChatChanged | ChatDeleted | StreamReset | UnknownEvent
"""What happens among all chats of a caller."""

EventTypes: TypeAlias = Mapping[str, Callable[[Any, str | None], Any]]
"""Name on the wire → class."""

CHAT_EVENTS: EventTypes = {kind.event: kind for kind in get_args(Event) if kind is not UnknownEvent}
CHAT_LIST_EVENTS: EventTypes = {
    kind.event: kind for kind in get_args(ChatListEvent) if kind is not UnknownEvent
}


def parse_event(raw: ServerSentEvent, event_types: EventTypes) -> Any:
    """The event in its own class, one of ``event_types``."""
    data = json.loads(raw.data)
    kind = event_types.get(raw.event)
    return UnknownEvent(raw.event, data, raw.id) if kind is None else kind(data, raw.id)
