"""The journal, and the events that a stream makes of it.

A journal row never changes, and its events follow from the row alone, so every replica shows every
viewer the same events; but for messages that were taken out of the history since, which are passed by.
A cursor says how far a viewer has come: through which journal row, through which part of which epoch,
and, when a row makes several events, how many of the next row's events have been sent already.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from chatd.domain.chat import Status
from chatd.domain.message import Message, Role, client_tool_calls
from chatd.domain.transitions import Transition


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEntry:
    """One row of ``chat_events``, with the messages that its move stored."""

    chat_id: UUID
    version: int
    created_at: datetime
    transition: Transition
    status: Status
    epoch: int
    worker_id: UUID | None
    data: Mapping[str, Any]
    messages: tuple[Message, ...] = ()


@dataclass(frozen=True, slots=True)
class Hint:
    """This chat has come to this version. It may be late, doubled, out of order, or never come."""

    chat_id: UUID
    version: int
    status: Status | None = None
    """None: streamed parts were stored, the chat itself did not move."""


RESYNC: Final = Hint(UUID(int=0), 0)
"""Of no chat: hints may have been missed, so look at everything once. It is told by identity."""


class StreamEventType(StrEnum):
    SNAPSHOT = "snapshot"
    STATUS = "status"
    MESSAGE = "message"
    MESSAGE_PART = "message_part"
    PREVIEW_RESET = "preview_reset"
    HISTORY_RESET = "history_reset"
    QUEUE_UPDATE = "queue_update"
    RETRY = "retry"
    ERROR = "error"
    ACTION_REQUIRED = "action_required"
    CHAT = "chat"
    DELETED = "deleted"
    RESET = "reset"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True, order=True)
class Cursor:
    """How far a viewer has come; on the wire ``version.epoch.part`` or ``version.epoch.part+events_sent``."""

    version: int
    epoch: int = 0
    part: int = 0
    events_sent: int = 0
    """Events of row ``version + 1`` that were sent before the connection was cut."""

    def __str__(self) -> str:
        text = f"{self.version}.{self.epoch}.{self.part}"
        return f"{text}+{self.events_sent}" if self.events_sent else text

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """Read what ``str`` wrote. Raises ValueError for anything else."""
        place, plus, sent = text.partition("+")
        numbers = [*place.split("."), sent if plus else "0"]
        if all(map(_is_number, numbers)):
            match [int(number) for number in numbers]:
                case [version, epoch, part, already]:
                    return cls(version, epoch, part, already)
        raise ValueError(f"not a cursor: {text[:80]!r}")

    def advanced_past(self, entry: JournalEntry) -> "Cursor":
        """The cursor of a viewer who has seen all events of ``entry``."""
        if entry.epoch != self.epoch:
            return Cursor(entry.version, entry.epoch, 0)
        return replace(self, version=entry.version, events_sent=0)


_MAX_DIGITS = 18
"""Digits: what a bigint holds for certain."""


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS


StreamEvent = tuple[StreamEventType, Mapping[str, Any] | Message]
"""An event before it is dressed for the wire: its type, and its fields (or the message itself)."""

_DISCARDS_PREVIEW = frozenset(
    {Transition.RECORD_RETRY, Transition.RELEASE, Transition.REAP, Transition.FAIL}
)
"""Moves after which the parts that were streamed will not become a message."""

_COMMITS_PREVIEW = frozenset(
    {
        Transition.COMMIT_STEP,
        Transition.REQUIRE_ACTION,
        Transition.FINISH_TURN,
        Transition.FINISH_INTERRUPT,
        Transition.REAP_INTERRUPT,
    }
)
"""Moves whose message replaces the parts that were streamed; without one, the parts are void."""

_KEEPS_STATUS = frozenset(
    {
        Transition.COMMIT_STEP,
        Transition.RECORD_RETRY,
        Transition.REMOVE_QUEUED,
        Transition.DESCRIBE,
        Transition.ARCHIVE,
        Transition.UNARCHIVE,
    }
)

_QUEUE_KEYS = frozenset({"queued", "promoted", "removed", "head"})
"""Fields of a journal row that say what happened to the queue."""


def stream_events(entry: JournalEntry) -> Iterator[StreamEvent]:
    """The events of one journal row, in the order in which a viewer is to apply them."""
    data = entry.data
    if "reset_from" in data:
        yield StreamEventType.HISTORY_RESET, {"from_message_id": data["reset_from"]}
    if entry.transition in _DISCARDS_PREVIEW or (
        entry.transition in _COMMITS_PREVIEW
        and not any(message.role is not Role.USER for message in entry.messages)
    ):
        yield StreamEventType.PREVIEW_RESET, {}
    for message in entry.messages:
        yield StreamEventType.MESSAGE, message
    if _QUEUE_KEYS & data.keys():
        yield StreamEventType.QUEUE_UPDATE, _queue_update(data)
    if entry.transition is Transition.RECORD_RETRY:
        yield (
            StreamEventType.RETRY,
            {key: data[key] for key in ("attempt", "delay_seconds", "next_attempt_at", "failure")},
        )
    if entry.transition is Transition.REQUIRE_ACTION:
        yield StreamEventType.ACTION_REQUIRED, _pending_tool_calls(entry)
    if entry.transition in {Transition.DESCRIBE, Transition.ARCHIVE, Transition.UNARCHIVE}:
        yield StreamEventType.CHAT, {key: data[key] for key in ("title", "labels", "archived")}
    if entry.status is Status.ERROR and entry.transition not in _KEEPS_STATUS:
        yield (
            StreamEventType.ERROR,
            {"last_error": data["last_error"], "last_error_detail": data["last_error_detail"]},
        )
    if entry.transition not in _KEEPS_STATUS:
        yield StreamEventType.STATUS, {"status": entry.status, "epoch": entry.epoch}


def _queue_update(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """What came, what went (said or not), and what was brought to the front."""
    said = [data["promoted"]] if "promoted" in data else []
    return {
        "queue_length": data["queue_length"],
        "added": data.get("queued"),
        "removed": [*said, *data.get("removed", ())],
        "head": data.get("head"),
    }


def _pending_tool_calls(entry: JournalEntry) -> Mapping[str, Any]:
    """What the client is to do. Arguments stand in the message alone; the row has ids and names."""
    made = {
        part["tool_call_id"]: part
        for message in entry.messages
        if not message.superseded
        for part in message.content
        if part["type"] == "tool-call"
    }
    calls = [made.get(call["tool_call_id"], call) for call in entry.data["calls"]]
    return {"calls": client_tool_calls(calls), "deadline": entry.data["deadline"]}
