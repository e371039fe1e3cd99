"""The reader of one turn: a snapshot and the events of a stream, as items. It does no I/O.

Live parts are a preview. Once the message of a step is stored, whatever was not sent of it yet follows
from there, and what contradicts it is voided. So parts that are lost, doubled or late heal by themselves,
and the items that are left add up to the stored messages, byte for byte.

How a turn ended is read from its stored messages alone, so that it is the same in the history.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, cast

from chatd.adapters.step_reader import StepReader, public
from chatd.adapters.turn_items import (
    ActionRequired,
    ChatDeleted,
    Queued,
    Retrying,
    StepVoided,
    ToolResult,
    TurnBegan,
    TurnFailed,
    TurnFinished,
    TurnInterrupted,
    TurnItem,
    TurnSuperseded,
    ends_stream,
)
from chatd.domain.chat import Status
from chatd.domain.compaction import COMPACTION_PART
from chatd.domain.message import Message, Role, client_key
from chatd.domain.snapshot import ChatSnapshot
from chatd.domain.stream_events import StreamEvent, StreamEventType

_E: Final = StreamEventType


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn, by the user's message that it answers.

    That is one of the history (``message_id``), or one that may still wait in the queue (``queued_id``).
    It is found there again by its ``client_key``.
    """

    message_id: int | None = None
    queued_id: int | None = None
    client_key: str | None = None
    after_id: int = 0
    """An id that all its messages are after."""
    begun_at: int | None = None
    """The version that stored its message, just now. None: it may have begun long ago."""

    @property
    def since(self) -> int:
        """The lowest id that its first message may have."""
        return self.message_id or self.after_id


class TurnItemReader:
    """Reader of a turn's items. The snapshot comes first, then the events that follow on it."""

    def __init__(self, turn: Turn) -> None:
        self.turn = turn
        self.began = False
        """True once the message of the turn stands in the history."""
        self.ended = False
        """True once the turn ended, or waits for an action. Nothing more is returned then."""
        self.next_message: Message | None = None
        """The message of the next turn, if that ended this one."""
        self._queue: list[int] = []
        self._position = 0
        self._queued_content: object = None
        self._latest_user: Message | None = None
        """The last message of a user since the queue changed: it came from there."""
        self._last_id = 0
        """The id of the last message that was read."""
        self._last: Message | None = None
        """The last message of the turn that is not the user's."""
        self._step = StepReader(0)
        self._failure: Mapping[str, Any] | None = None

    # -- input ------------------------------------------------------------------------------------

    def read_snapshot(self, snapshot: ChatSnapshot) -> Sequence[TurnItem]:
        """Return the items of a turn so far. The snapshot has all its messages, and the queue."""
        return self._until_end(self._snapshot(snapshot))

    def read_event(self, event: StreamEvent) -> Sequence[TurnItem]:
        """Return the items that an event adds."""
        if event.type is _E.MESSAGE_PART:  # most events, and never the last one
            if not self.began or self.ended:
                return ()
            return self._step.delta(cast("Mapping[str, Any]", event.data))
        return self._until_end(self._event(event))

    def read_message(self, message: Message) -> Sequence[TurnItem]:
        """Return the items of a stored message."""
        return self._until_end(self._message(message))

    def read_end(self) -> Sequence[TurnItem]:
        """Return the end of a turn whose messages have all been read."""
        return self._until_end(self._ended())

    def _until_end(self, items: Iterator[TurnItem]) -> Sequence[TurnItem]:
        read: list[TurnItem] = []
        while not self.ended and (item := next(items, None)) is not None:
            read.append(item)
            self.ended = ends_stream(item)
        return read

    # -- snapshots --------------------------------------------------------------------------------

    def _snapshot(self, snapshot: ChatSnapshot) -> Iterator[TurnItem]:
        chat = snapshot.chat
        if not self.began:
            self.turn = replace(self.turn, message_id=self._find(snapshot.messages))
        for message in sorted(snapshot.messages, key=lambda message: message.id):
            yield from self._message(message)
        self._queue = [queued.id for queued in snapshot.queue]
        if not self.began:
            yield from self._wait(snapshot)
            return
        yield from self._step.preview(snapshot.parts)
        if chat.status is Status.ERROR:
            self._failure = {
                "last_error": chat.last_error,
                "last_error_detail": chat.last_error_detail,
            }
        if chat.status is Status.REQUIRES_ACTION and (asked := snapshot.action_required):
            yield ActionRequired(asked["calls"], asked["deadline"])
        yield from self._status(chat.status)

    def _find(self, messages: Sequence[Message]) -> int | None:
        """Return the id of the turn's message in the history. None: it is not there yet."""
        turn = self.turn
        if turn.message_id is not None or turn.client_key is None:
            return turn.message_id
        users = [message.id for message in messages if self._has_key(message)]
        return max(users, default=None)

    def _has_key(self, message: Message) -> bool:
        is_users = message.role is Role.USER and not message.superseded
        return is_users and client_key(message.content) == self.turn.client_key

    def _wait(self, snapshot: ChatSnapshot) -> Iterator[TurnItem]:
        """Yield the position in the queue, in which the message is unless it was removed."""
        for queued in snapshot.queue:
            key = self.turn.client_key
            if queued.id == self.turn.queued_id or (key and client_key(queued.content) == key):
                self.turn = replace(self.turn, queued_id=queued.id)
                self._queued_content = queued.content
        is_shown = self.turn.queued_id in self._queue
        unread = snapshot.chat.queue_length - len(self._queue)
        if not is_shown and (unread <= 0 or self.turn.queued_id is None):
            yield TurnSuperseded()
        elif not is_shown and self.turn.queued_id is not None:
            self._queue += [*[0] * (unread - 1), self.turn.queued_id]
        yield from self._queued()
        yield from self._status(snapshot.chat.status)

    # -- events -----------------------------------------------------------------------------------

    def _event(self, event: StreamEvent) -> Iterator[TurnItem]:
        data: Any = event.data
        match event.type:
            case _E.SNAPSHOT:
                yield from self._snapshot(data)
            case _E.MESSAGE:
                yield from self._message(data)
            case _E.PREVIEW_RESET if self.began:
                # Also of a step of which nothing was sent: sequence numbers count the voids of the journal.
                yield from self._step.void() or [StepVoided(self._step.step)]
            case _E.QUEUE_UPDATE:
                yield from self._queue_update(data)
            case _E.ERROR:
                self._failure = data
            case _E.STATUS:
                yield from self._status(data["status"])
            case _E.DELETED:
                yield ChatDeleted()
            case _ if self.began:
                yield from self._turn_event(event.type, data)

    def _turn_event(
        self, event_type: StreamEventType, data: Mapping[str, Any]
    ) -> Iterator[TurnItem]:
        match event_type:
            case _E.HISTORY_RESET:
                yield TurnSuperseded()
            case _E.ACTION_REQUIRED:
                yield ActionRequired(data["calls"], data["deadline"])
            case _E.RETRY:
                yield Retrying(data["attempt"], data["delay_seconds"], data["failure"])

    def _message(self, message: Message) -> Iterator[TurnItem]:
        if message.id <= self._last_id or message.superseded:
            return
        self._last_id = message.id
        if message.covers_until is not None or _is_notice(message):
            return
        if message.role is Role.USER:
            yield from self._user_message(message)
        elif self.began and message.role is Role.ASSISTANT:
            self._last = message
            yield from self._step.message(message)
            self._step = StepReader(self._step.step + 1)
        elif self.began and message.role is Role.TOOL:
            self._last = message
            step = max(self._step.step - 1, 0)
            yield from self._step.void()
            for part in message.content:
                yield ToolResult(step, public(part))

    def _user_message(self, message: Message) -> Iterator[TurnItem]:
        self._latest_user = message
        if self.began:
            self.next_message = message
            yield from self._ended()
        elif message.id == self.turn.message_id or (
            self.turn.client_key and self._has_key(message)
        ):
            yield self._begin(message)

    def _begin(self, message: Message) -> TurnItem:
        self.began = True
        self.turn = replace(self.turn, message_id=message.id)
        return TurnBegan(message)

    def _queue_update(self, data: Mapping[str, Any]) -> Iterator[TurnItem]:
        removed, added, head = data["removed"], data["added"], data["head"]
        self._queue = [each for each in self._queue if each not in removed]
        if added is not None:
            self._queue.append(added)
        if head in self._queue:
            self._queue.remove(head)
            self._queue.insert(0, head)
        if self.began:
            return
        if self.turn.queued_id in removed:
            latest = self._latest_user
            if latest is not None and latest.content == self._queued_content:
                yield self._begin(latest)
            else:
                yield TurnSuperseded()
        self._latest_user = None
        yield from self._queued()

    def _queued(self) -> Iterator[TurnItem]:
        """Yield the position of the message in the queue, if that changed."""
        if self.turn.queued_id not in self._queue:
            return
        position = self._queue.index(self.turn.queued_id) + 1
        if position != self._position:
            self._position = position
            yield Queued(position)

    # -- ends -------------------------------------------------------------------------------------

    def _status(self, status: Status) -> Iterator[TurnItem]:
        if status is Status.ERROR:
            failure = self._failure or {}
            yield from self._step.void()
            detail = failure.get("last_error_detail") or {}
            yield TurnFailed(detail.get("kind", "panic"), failure.get("last_error") or "")
        elif status is Status.WAITING and self.began:
            yield from self._ended()

    def _ended(self) -> Iterator[TurnItem]:
        """Yield the end of the turn, as its stored messages tell it."""
        yield from self._step.void()
        last = self._last
        if last is None or last.role is Role.TOOL or last.finish_reason == "interrupted":
            yield TurnInterrupted()
        else:
            yield TurnFinished(last.finish_reason)


def read_history(messages: Sequence[Message]) -> Sequence[TurnItem]:
    """Return the items of a turn that is over, as if it was followed live.

    ``messages`` begin with the user's message. The turn ends with the last one.
    """
    reader = TurnItemReader(Turn(message_id=messages[0].id))
    items = [item for message in messages for item in reader.read_message(message)]
    return [*items, *reader.read_end()]


def _is_notice(message: Message) -> bool:
    """Return whether a message tells people of a compaction, which is no step."""
    return any(part["type"] == COMPACTION_PART for part in message.content)
