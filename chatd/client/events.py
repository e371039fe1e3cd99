"""The events of streams, one class each, so that ``match`` and a type checker know what is in ``data``.

``id`` is the cursor that follows the event; come back with it and nothing is missed or told twice.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeAlias, TypedDict, TypeVar, get_args

from chatd.client.shapes import (
    Chat,
    FailureDetail,
    Fragment,
    Message,
    QueuedMessage,
    Status,
    ToolCall,
)
from chatd.client.sse import ServerSentEvent

Data = TypeVar("Data")


@dataclass(frozen=True)
class _Event(Generic[Data]):
    event: ClassVar[str]
    """Its name on the wire."""

    data: Data
    id: str | None = None


class StatusData(TypedDict):
    status: Status
    epoch: int


class QueueData(TypedDict):
    """Ids of queued messages: what came, what went (said or not), what was brought to the front."""

    queue_length: int
    added: int | None
    removed: list[int]
    head: int | None


class RetryData(TypedDict):
    attempt: int
    delay_seconds: float
    next_attempt_at: str
    failure: FailureDetail


class FailureData(TypedDict):
    last_error: str
    last_error_detail: FailureDetail


class DescriptionData(TypedDict):
    title: str
    labels: dict[str, str]
    archived: bool


class ActionData(TypedDict):
    calls: list[ToolCall]
    deadline: str


class SnapshotData(TypedDict):
    """``parts`` are the pieces of the answer under way."""

    chat: Chat
    messages: list[Message]
    queue: list[QueuedMessage]
    parts: list[Fragment]
    action_required: ActionData | None


class HistoryResetData(TypedDict):
    from_message_id: int


class IdData(TypedDict):
    id: str


class ReasonData(TypedDict):
    reason: str


class ChatsData(TypedDict):
    items: list[Chat]
    next_cursor: str | None


class Snapshot(_Event[SnapshotData]):
    """``snapshot``: the chat as it is; forget what was before."""

    event = "snapshot"


class StatusChanged(_Event[StatusData]):
    """``status``: what the chat is doing."""

    event = "status"


class MessageStored(_Event[Message]):
    """``message``: a message is in the history; the assistant's replaces the preview."""

    event = "message"


class MessagePart(_Event[Fragment]):
    """``message_part``: a piece more of the answer under way."""

    event = "message_part"


class PreviewReset(_Event[dict[str, Any]]):
    """``preview_reset``: the answer is streamed again, or not at all."""

    event = "preview_reset"


class QueueChanged(_Event[QueueData]):
    """``queue_update``: who waits."""

    event = "queue_update"


class Retrying(_Event[RetryData]):
    """``retry``: the model failed and is tried again."""

    event = "retry"


class TurnFailed(_Event[FailureData]):
    """``error``: the turn failed, and why."""

    event = "error"


class ActionRequired(_Event[ActionData]):
    """``action_required``: the client is to run tools and submit their results."""

    event = "action_required"


class HistoryReset(_Event[HistoryResetData]):
    """``history_reset``: messages from this one on are gone, and the preview."""

    event = "history_reset"


class ChatDescribed(_Event[DescriptionData]):
    """``chat`` in a chat's own stream: title, labels, archived."""

    event = "chat"


class Deleted(_Event[IdData]):
    """``publish_deleted``: the chat is gone."""

    event = "deleted"


class Reset(_Event[ReasonData]):
    """``reset``: the cursor could not be resumed; a snapshot follows."""

    event = "reset"


class ChatsSnapshot(_Event[ChatsData]):
    """``snapshot`` in the stream of all chats: the most recent ones."""

    event = "snapshot"


class ChatMoved(_Event[Chat]):
    """``chat`` in the stream of all chats: one of them, as it is now."""

    event = "chat"


@dataclass(frozen=True, slots=True)
class Unknown:
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
    | Retrying
    | TurnFailed
    | ActionRequired
    | HistoryReset
    | ChatDescribed
    | Deleted
    | Reset
    | Unknown
)
"""What happens in one chat."""

ListEvent: TypeAlias = ChatsSnapshot | ChatMoved | Deleted | Reset | Unknown
"""What happens among all chats of a caller."""

Kinds: TypeAlias = Mapping[str, Callable[[Any, str | None], Any]]
"""Name on the wire → class."""

OF_A_CHAT: Kinds = {kind.event: kind for kind in get_args(Event) if kind is not Unknown}
OF_ALL_CHATS: Kinds = {kind.event: kind for kind in get_args(ListEvent) if kind is not Unknown}


def typed(told: ServerSentEvent, kinds: Kinds) -> Any:
    """The event in its own class, one of ``kinds``."""
    data = json.loads(told.data)
    kind = kinds.get(told.event)
    return Unknown(told.event, data, told.id) if kind is None else kind(data, told.id)
