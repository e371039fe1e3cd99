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
from chatd.domain.message import Message, Role, asked_of_client
from chatd.domain.moves import Move


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One row of ``chat_events``, with the messages that its move stored."""

    chat_id: UUID
    version: int
    at: datetime
    move: Move
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


EVERYTHING: Final = Hint(UUID(int=0), 0)
"""Of no chat: hints may have been missed, so look at everything once. It is told by identity."""


class EventType(StrEnum):
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
    """How far a viewer has come; on the wire ``version.epoch.part`` or ``version.epoch.part+sent``."""

    version: int
    epoch: int = 0
    part: int = 0
    sent: int = 0
    """Events of row ``version + 1`` that were sent before the connection was cut."""

    def __str__(self) -> str:
        text = f"{self.version}.{self.epoch}.{self.part}"
        return f"{text}+{self.sent}" if self.sent else text

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

    def after(self, entry: Entry) -> "Cursor":
        """The cursor of a viewer who has seen all events of ``entry``."""
        if entry.epoch != self.epoch:
            return Cursor(entry.version, entry.epoch, 0)
        return replace(self, version=entry.version, sent=0)


_LONGEST_NUMBER = 18
"""Digits: what a bigint holds for certain."""


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER


Told = tuple[EventType, Mapping[str, Any] | Message]
"""An event before it is dressed for the wire: its type, and its fields (or the message itself)."""

_VOIDS_PREVIEW = frozenset({Move.RECORD_RETRY, Move.RELEASE, Move.REAP, Move.FAIL})
"""Moves after which the parts that were streamed will not become a message."""

_SETTLES_PREVIEW = frozenset(
    {
        Move.COMMIT_STEP,
        Move.REQUIRE_ACTION,
        Move.FINISH_TURN,
        Move.FINISH_INTERRUPT,
        Move.REAP_INTERRUPT,
    }
)
"""Moves whose message replaces the parts that were streamed; without one, the parts are void."""

_KEEPS_STATUS = frozenset(
    {
        Move.COMMIT_STEP,
        Move.RECORD_RETRY,
        Move.UNQUEUE,
        Move.DESCRIBE,
        Move.ARCHIVE,
        Move.UNARCHIVE,
    }
)

_OF_QUEUE = frozenset({"queued", "promoted", "unqueued", "head"})
"""Fields of a journal row that say what happened to the queue."""


def told(entry: Entry) -> Iterator[Told]:
    """The events of one journal row, in the order in which a viewer is to apply them."""
    data = entry.data
    if "reset_from" in data:
        yield EventType.HISTORY_RESET, {"from_message_id": data["reset_from"]}
    if entry.move in _VOIDS_PREVIEW or (
        entry.move in _SETTLES_PREVIEW
        and not any(message.role is not Role.USER for message in entry.messages)
    ):
        yield EventType.PREVIEW_RESET, {}
    for message in entry.messages:
        yield EventType.MESSAGE, message
    if _OF_QUEUE & data.keys():
        yield EventType.QUEUE_UPDATE, _queue_update(data)
    if entry.move is Move.RECORD_RETRY:
        yield (
            EventType.RETRY,
            {key: data[key] for key in ("attempt", "delay_seconds", "next_attempt_at", "failure")},
        )
    if entry.move is Move.REQUIRE_ACTION:
        yield EventType.ACTION_REQUIRED, _asked(entry)
    if entry.move in {Move.DESCRIBE, Move.ARCHIVE, Move.UNARCHIVE}:
        yield EventType.CHAT, {key: data[key] for key in ("title", "labels", "archived")}
    if entry.status is Status.ERROR and entry.move not in _KEEPS_STATUS:
        yield (
            EventType.ERROR,
            {"last_error": data["last_error"], "last_error_detail": data["last_error_detail"]},
        )
    if entry.move not in _KEEPS_STATUS:
        yield EventType.STATUS, {"status": entry.status, "epoch": entry.epoch}


def _queue_update(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """What came, what went (said or not), and what was brought to the front."""
    said = [data["promoted"]] if "promoted" in data else []
    return {
        "queue_length": data["queue_length"],
        "added": data.get("queued"),
        "removed": [*said, *data.get("unqueued", ())],
        "head": data.get("head"),
    }


def _asked(entry: Entry) -> Mapping[str, Any]:
    """What the client is to do. Arguments stand in the message alone; the row has ids and names."""
    made = {
        part["tool_call_id"]: part
        for message in entry.messages
        if not message.superseded
        for part in message.content
        if part["type"] == "tool-call"
    }
    calls = [made.get(call["tool_call_id"], call) for call in entry.data["calls"]]
    return {"calls": asked_of_client(calls), "deadline": entry.data["deadline"]}
