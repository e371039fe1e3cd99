"""The events that a stream makes of the journal.

A journal entry never changes, and its events follow from the entry alone, so every replica sends every
subscriber the same events. Only messages that were taken out of the history since are left out.

A transition of a newer version has a journal entry that this one knows in part. Its known fields are sent:
hidden and stored messages, changes of the queue, the end of a step, and the status. So a subscriber that
resumes on a newer process has the same history, and lacks only events of new types.
"""

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple

from pydantic_core import to_json

from chatd.domain.chat import Chat, Status
from chatd.domain.cursor import Cursor
from chatd.domain.journal import JournalEntry
from chatd.domain.message import Message, Role
from chatd.domain.moment import parse_moment
from chatd.domain.question import action
from chatd.domain.snapshot import ChatListSnapshot, ChatSnapshot
from chatd.domain.transitions import Transition


class StreamEventType(StrEnum):
    """A type of event, in the spelling of the native protocol."""

    SNAPSHOT = "snapshot"
    STATUS = "status"
    MESSAGE = "message"
    MESSAGE_PART = "message_part"
    PREVIEW_RESET = "preview_reset"
    HISTORY_RESET = "history_reset"
    COMPACTION = "compaction"
    QUEUE_UPDATE = "queue_update"
    RETRY = "retry"
    ERROR = "error"
    ACTION_REQUIRED = "action_required"
    ACTION_ANSWERED = "action_answered"
    TOOL_CALLS = "tool_calls"
    NOTICES = "notices"
    CHAT = "chat"
    DELETED = "deleted"
    RESET = "reset"
    DRAINING = "draining"


StreamEventData = Mapping[str, Any] | Message | Chat | ChatSnapshot | ChatListSnapshot
"""The data of an event: a value of the domain where there is one, else the event's fields."""


class StreamEvent(NamedTuple):
    """An event that no protocol has spelled yet, and the cursor that resumes right after it."""

    type: StreamEventType
    data: StreamEventData
    cursor: Cursor | str | None = None
    """None: a stream cannot be resumed right after this event."""
    json: bytes | None = None
    """The data as JSON, of an event that was encoded once for all its subscribers."""


_QUEUE_KEYS = frozenset({"queued", "promoted", "removed", "head"})
"""Fields of a journal entry that tell a change of the queue."""
_RETRY_TRANSITIONS = frozenset({Transition.RECORD_RETRY, Transition.DEFER})


def stream_events(entry: JournalEntry) -> Iterator[StreamEvent]:
    """Yield the events of one journal entry, in the order in which a subscriber applies them."""
    data, transition = entry.data, entry.transition
    rule = transition.rule
    yield from _history_events(data)
    stores_answer = any(message.role is not Role.USER for message in entry.messages)
    if resets_preview(entry, stores_answer=stores_answer):
        yield StreamEvent(StreamEventType.PREVIEW_RESET, {})
    for message in entry.messages:
        yield StreamEvent(StreamEventType.MESSAGE, message)
    if not _QUEUE_KEYS.isdisjoint(data):
        yield StreamEvent(StreamEventType.QUEUE_UPDATE, _queue_update(data))
    yield from _tool_call_events(entry)
    if "notices" in data:
        yield StreamEvent(StreamEventType.NOTICES, _select(data, "notices"))
    if transition in _RETRY_TRANSITIONS:
        yield StreamEvent(
            StreamEventType.RETRY,
            {
                **_select(data, "attempt", "delay_seconds", "failure"),
                "next_attempt_at": parse_moment(data["next_attempt_at"]),
            },
        )
    if "title" in data:
        yield StreamEvent(StreamEventType.CHAT, _select(data, "title", "labels", "archived"))
    if rule.keeps_status or (entry.status is Status.REQUIRES_ACTION and rule.keeps_asking):
        return
    if entry.status is Status.ERROR:
        yield StreamEvent(StreamEventType.ERROR, _select(data, "last_error", "last_error_detail"))
    yield _status_event(entry.status, entry.epoch)


@lru_cache(1024)
def _status_event(status: Status, epoch: int) -> StreamEvent:
    """Return the event of a status with its JSON: most chats have few epochs, and each turn three."""
    data = {"status": status, "epoch": epoch}
    return StreamEvent(StreamEventType.STATUS, data, json=to_json(data))


def _history_events(data: Mapping[str, Any]) -> Iterator[StreamEvent]:
    """Yield which messages left the history, or are compacted from now on."""
    if "reset_from" in data:
        yield StreamEvent(StreamEventType.HISTORY_RESET, {"from_message_id": data["reset_from"]})
    if "compacted_until" in data:
        yield StreamEvent(StreamEventType.COMPACTION, _select(data, "compacted_until"))


def resets_preview(entry: JournalEntry, *, stores_answer: bool) -> bool:
    """Return whether the live parts become void with an entry: no message replaces them.

    ``stores_answer`` tells that it has a message which is not the user's.
    """
    rule = entry.transition.rule
    if entry.transition is Transition.CLOSE_CALLS or not entry.transition.is_known:
        # The live parts of tools stay until the last of them has its result.
        commits_preview = "settled_part" in entry.data
    else:
        commits_preview = rule.commits_preview
    return rule.discards_preview or (commits_preview and not stores_answer)


def _select(data: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    return {key: data[key] for key in keys}


def _queue_update(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return which queued messages were added, left the queue, or came to its front."""
    promoted = [data["promoted"]] if "promoted" in data else []
    return {
        "queue_length": data["queue_length"],
        "added": data.get("queued"),
        "removed": [*promoted, *data.get("removed", ())],
        "head": data.get("head"),
    }


def _tool_call_events(entry: JournalEntry) -> Sequence[StreamEvent]:
    """Return which calls are asked or were answered, or which of the server's have ended or begun."""
    if entry.transition is Transition.REQUIRE_ACTION:
        return [StreamEvent(StreamEventType.ACTION_REQUIRED, _action_required(entry))]
    if entry.transition in {Transition.CLOSE_CALLS, Transition.WAKE}:
        calls = {key: entry.data.get(key, []) for key in ("closed", "started", "asked")}
        return [StreamEvent(StreamEventType.TOOL_CALLS, calls)]
    if "answered" not in entry.data:
        return ()
    answers = {
        "answered": entry.data["answered"],
        "open": entry.data.get("open", []),
        "deadline": parse_moment(entry.data["deadline"]) if "deadline" in entry.data else None,
    }
    return [StreamEvent(StreamEventType.ACTION_ANSWERED, answers)]


def _action_required(entry: JournalEntry) -> Mapping[str, Any]:
    """Return the tool calls that are asked.

    Their arguments are in the message, unless that is older than the entry. Then the entry has them.
    """
    calls_by_id = {
        part["tool_call_id"]: part
        for message in entry.messages
        if not message.superseded
        for part in message.content
        if part["type"] == "tool-call"
    }
    calls = [
        action(
            calls_by_id.get(call["tool_call_id"], call),
            call["question"],
            parse_moment(call["expires_at"]),
        )
        for call in entry.data["calls"]
    ]
    return {"calls": calls, "deadline": parse_moment(entry.data["deadline"])}
