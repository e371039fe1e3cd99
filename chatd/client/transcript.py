"""Local copy of a chat, kept up to date by its stream events."""

from chatd.client.content import fold_parts, text_of
from chatd.client.events import (
    ActionAnswered,
    ActionRequired,
    ChatDeleted,
    ChatEvent,
    ChatUpdated,
    HistoryCompacted,
    HistoryReset,
    MessagePart,
    MessageStored,
    PreviewReset,
    QueueChanged,
    RetryScheduled,
    Snapshot,
    StatusChanged,
    ToolCallsChanged,
    TurnFailed,
)
from chatd.client.running_calls import RunningCall, RunningCalls
from chatd.client.types import (
    ActionRequiredData,
    Chat,
    Message,
    Part,
    QueuedMessage,
    RetryScheduledData,
    SnapshotData,
    Status,
)

IDLE_STATUSES: frozenset[Status] = frozenset({"waiting", "error"})
"""Statuses in which no work is under way: nothing changes until a caller acts."""


class Transcript:
    """Local copy of a chat: its messages, its queue, and a preview of the running answer.

    Apply the events of ``Client.follow`` in order. Events before the first snapshot are ignored.

    Example::

        transcript = Transcript()
        async with client.follow(chat_id) as events:
            async for event in events:
                transcript.apply(event)
                print(transcript.preview_text)
                if transcript.idle:
                    break
    """

    def __init__(self) -> None:
        self.chat: Chat | None = None
        """Chat of the snapshot, with its status, title, labels, queue length and error kept up to date."""
        self.messages: list[Message] = []
        self.older_cursor: int | None = None
        """Id before which there are older messages, which ``Client.messages.list_older`` returns."""
        self.queue: list[QueuedMessage] = []
        """Messages of the snapshot that are still queued. Others count in ``queue_length`` only."""
        self.retry: RetryScheduledData | None = None
        """Failure of the last model call, and the time of its retry."""
        self.action_required: ActionRequiredData | None = None
        """Calls that the chat waits for: of people, and of client tools."""
        self.deleted = False
        """True once the chat is deleted."""
        self._parts: dict[int, Part] = {}
        self._running_calls = RunningCalls()

    @property
    def status(self) -> Status | None:
        """Status of the chat, or None before the first snapshot."""
        return self.chat["status"] if self.chat else None

    @property
    def idle(self) -> bool:
        """True if no work is under way."""
        return self.status in IDLE_STATUSES

    @property
    def queue_length(self) -> int:
        """Number of queued messages."""
        return self.chat["queue_length"] if self.chat else 0

    @property
    def preview(self) -> list[Part]:
        """Parts of the running answer so far."""
        return [self._parts[index] for index in sorted(self._parts)]

    @property
    def preview_text(self) -> str:
        """Text of the running answer so far."""
        return text_of(self.preview)

    @property
    def running_calls(self) -> list[RunningCall]:
        """Tool calls of the last answer whose results are not stored yet, with their progress."""
        return [] if self.idle else [*self._running_calls.of(self.messages)]

    def apply(self, event: ChatEvent) -> None:
        """Apply the next event of the chat's stream."""
        if isinstance(event, Snapshot):
            self._load_snapshot(event.data)
        elif self.chat is not None:
            self._apply_content(event)
            self._apply_metadata(event, self.chat)

    def _load_snapshot(self, data: SnapshotData) -> None:
        self.chat = data["chat"].copy()
        self.messages = [*data["messages"]]
        older = data.get("older_cursor")
        self.older_cursor = None if older is None else int(older)
        self.queue = [*data["queue"]]
        self._clear_preview()
        self._parts = fold_parts(self._running_calls.take_progress(data["parts"]))
        self.retry = None
        self.action_required = data.get("action_required")

    def _apply_content(self, event: ChatEvent) -> None:
        """Update messages and preview."""
        match event:
            case MessagePart():
                answer = self._running_calls.take_progress([event.data])
                self._parts = fold_parts(answer, self._parts)
                self.retry = None
            case MessageStored():
                self.messages.append(event.data)
                if event.data["role"] in {"assistant", "tool"}:
                    self._clear_preview()
            case PreviewReset():
                self._clear_preview()
            case ToolCallsChanged():
                self._running_calls.update(event.data)
            case HistoryReset():
                first = event.data["from_message_id"]
                self.messages = [message for message in self.messages if message["id"] < first]
                self._clear_preview()
            case HistoryCompacted():
                until = event.data["compacted_until"]
                self.messages = [_compacted(message, until) for message in self.messages]
            case ChatDeleted():
                self.deleted = True

    def _clear_preview(self) -> None:
        self._parts = {}
        self._running_calls.clear()

    def _apply_metadata(self, event: ChatEvent, chat: Chat) -> None:
        """Update the chat, its queue, and what it waits for."""
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
                removed, head = event.data["removed"], event.data["head"]
                self.queue = [item for item in self.queue if item["id"] not in removed]
                self.queue.sort(key=lambda item: item["id"] != head)
            case RetryScheduled():
                self.retry = event.data
            case ActionRequired():
                self.action_required = event.data
                chat["action_deadline"] = event.data["deadline"]
            case ActionAnswered() if self.action_required is not None:
                still_open, deadline = event.data["open"], event.data["deadline"]
                calls = [
                    call
                    for call in self.action_required["calls"]
                    if call["tool_call_id"] in still_open
                ]
                self.action_required = (
                    {"calls": calls, "deadline": deadline} if deadline is not None else None
                )
                chat["action_deadline"] = deadline


def _compacted(message: Message, until: int) -> Message:
    """Return the message of a chat that is compacted up to this id."""
    compacted = message["role"] != "system" and message["id"] <= until
    return message if message.get("compacted") is compacted else {**message, "compacted": compacted}
