"""A picture of a chat, put together from its events."""

from collections.abc import Iterable, Mapping
from typing import Any, cast

from chatd.client.events import (
    ActionRequired,
    ActionRequiredData,
    ChatDeleted,
    ChatUpdated,
    Event,
    HistoryReset,
    MessagePart,
    MessageStored,
    PreviewReset,
    QueueChanged,
    RetryScheduled,
    RetryScheduledData,
    Snapshot,
    SnapshotData,
    StatusChanged,
    TurnFailed,
)
from chatd.client.types import IDLE_STATUSES, Chat, Message, Part, PartDelta, QueuedMessage, text_of

_CONCATENATED_KEYS = {"text", "args"}
"""Keys whose pieces are joined; of every other key the latest counts."""


class Transcript:
    """What a person sees who follows a chat: apply its events in order, from a snapshot on."""

    def __init__(self) -> None:
        self.chat: Chat | None = None
        """As of the snapshot, with status, title, labels and error kept up to date."""
        self.messages: list[Message] = []
        self.queue: list[QueuedMessage] = []
        """Who waits, as far as events say: who came after the snapshot is in ``queue_length`` only."""
        self.retry: RetryScheduledData | None = None
        """The model failed, and is tried again then."""
        self.action_required: ActionRequiredData | None = None
        """Tools that the client is to run."""
        self.deleted = False
        """The chat was deleted."""
        self._parts: dict[int, Part] = {}

    @property
    def status(self) -> str | None:
        """None before the first snapshot."""
        return self.chat["status"] if self.chat else None

    @property
    def idle(self) -> bool:
        """Nothing happens until somebody says something."""
        return self.status in IDLE_STATUSES

    @property
    def queue_length(self) -> int:
        """How many messages wait."""
        return self.chat["queue_length"] if self.chat else 0

    @property
    def preview(self) -> list[Part]:
        """The answer under way, as far as it was said."""
        return [self._parts[index] for index in sorted(self._parts)]

    @property
    def preview_text(self) -> str:
        """What a person reads of it."""
        return text_of(self.preview)

    def apply(self, event: Event) -> None:
        """Take in the next event."""
        if isinstance(event, Snapshot):
            self._load_snapshot(event.data)
        elif self.chat is not None:
            self._apply_content(event)
            self._apply_metadata(event, self.chat)

    def _load_snapshot(self, data: SnapshotData) -> None:
        self.chat = data["chat"].copy()
        self.messages = [*data["messages"]]
        self.queue = [*data["queue"]]
        self._parts = fold_parts(data["parts"])
        self.retry = None
        self.action_required = data.get("action_required")

    def _apply_content(self, event: Event) -> None:
        """What was said."""
        match event:
            case MessagePart():
                self._parts = fold_parts([event.data], self._parts)
                self.retry = None
            case MessageStored():
                self.messages.append(event.data)
                if event.data["role"] == "assistant":
                    self._parts = {}
            case PreviewReset():
                self._parts = {}
            case HistoryReset():
                first = event.data["from_message_id"]
                self.messages = [message for message in self.messages if message["id"] < first]
                self._parts = {}
            case ChatDeleted():
                self.deleted = True

    def _apply_metadata(self, event: Event, chat: Chat) -> None:
        """What the chat is, and what it waits for."""
        match event:
            case StatusChanged():
                chat["status"] = event.data["status"]
                self.retry = None
                if chat["status"] != "error":
                    chat["last_error"] = chat["last_error_detail"] = None
                if chat["status"] != "requires_action":
                    self.action_required = chat["action_deadline"] = None
            case TurnFailed():
                chat["last_error"] = event.data["last_error"]
                chat["last_error_detail"] = event.data["last_error_detail"]
            case ChatUpdated():
                chat["title"] = event.data["title"]
                chat["labels"] = event.data["labels"]
                chat["archived"] = event.data["archived"]
            case QueueChanged():
                chat["queue_length"] = event.data["queue_length"]
                gone, head = event.data["removed"], event.data["head"]
                self.queue = [one for one in self.queue if one["id"] not in gone]
                self.queue.sort(key=lambda one: one["id"] != head)
            case RetryScheduled():
                self.retry = event.data
            case ActionRequired():
                self.action_required = event.data
                chat["action_deadline"] = event.data["deadline"]


def fold_parts(
    deltas: Iterable[PartDelta], base: Mapping[int, Part] | None = None
) -> dict[int, Part]:
    """The parts that these pieces make, by their ``index``, added to those that were there."""
    parts = dict(base or {})
    for fragment in deltas:
        before: Mapping[str, Any] = parts.get(fragment["index"], {})
        now: dict[str, Any] = {**fragment}
        del now["index"]
        for key in _CONCATENATED_KEYS & before.keys() & now.keys():
            now[key] = f"{before[key]}{now[key]}"
        parts[fragment["index"]] = cast("Part", {**before, **now})
    return parts
