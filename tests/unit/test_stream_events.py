"""The events that each journal entry makes."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from chatd.domain.chat import Status
from chatd.domain.journal import JournalEntry
from chatd.domain.message import Message, Role
from chatd.domain.stream_events import StreamEventType, stream_events
from chatd.domain.transitions import TABLE, Transition

CHAT = UUID(int=1)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
S, M, Q = StreamEventType.STATUS, StreamEventType.MESSAGE, StreamEventType.QUEUE_UPDATE
COMPACTION = StreamEventType.COMPACTION
PREVIEW_RESET, ERROR, HISTORY_RESET = (
    StreamEventType.PREVIEW_RESET,
    StreamEventType.ERROR,
    StreamEventType.HISTORY_RESET,
)


def message_of(role: Role, number: int = 1) -> Message:
    return Message(
        id=number,
        chat_id=CHAT,
        version=1,
        role=role,
        content=({"type": "text", "text": "x"},),
        model_config_id=None,
        usage=None,
        finish_reason=None,
        created_at=NOW,
    )


def entry_of(transition: Transition, status: Status, *roles: Role, **data: Any) -> JournalEntry:
    return JournalEntry(
        chat_id=CHAT,
        version=7,
        created_at=NOW,
        transition=transition,
        status=status,
        epoch=3,
        worker_id=None,
        data=data,
        messages=tuple(message_of(role, n) for n, role in enumerate(roles)),
    )


W, P, R = Status.WAITING, Status.PENDING, Status.RUNNING
I, A, E = Status.INTERRUPTING, Status.REQUIRES_ACTION, Status.ERROR  # noqa: E741 - as in the table
K = Status.PARKED
USER, ASSISTANT, TOOL = Role.USER, Role.ASSISTANT, Role.TOOL
QUEUED: Mapping[str, Any] = {"queued": 4, "queue_length": 1}
PROMOTED: Mapping[str, Any] = {"promoted": 4, "queue_length": 0}
FAILURE: Mapping[str, Any] = {"last_error": "no", "last_error_detail": {"kind": "auth"}}
DESCRIPTION: Mapping[str, Any] = {"title": "t", "labels": {"a": "b"}, "archived": True}
RETRY: Mapping[str, Any] = {
    "attempt": 2,
    "delay_seconds": 1.5,
    "next_attempt_at": "2026-01-01T00:00:00Z",
    "failure": {"kind": "provider_error"},
    "settled_part": 9,
}
PARKED: Mapping[str, Any] = {
    "parked": [{"tool_call_id": "c1", "tool_name": "wait_agent", "waits_for": [str(CHAT)]}],
    "deadline": "2026-01-01T00:05:00Z",
    "settled_part": 9,
}
CALLS: Mapping[str, Any] = {
    "calls": [
        {
            "tool_call_id": "c1",
            "tool_name": "weather",
            "question": {"kind": "result"},
            "expires_at": "2026-01-01T02:05:00+02:00",
        }
    ],
    "deadline": "2026-01-01T00:05:00Z",
}
IN_FIVE_MINUTES = datetime(2026, 1, 1, 0, 5, tzinfo=UTC)
"""The moment of ``CALLS``. PostgreSQL writes JSON in its own time zone."""

ANSWERED = {"tool_call_id": "c1", "tool_name": "weather", "decision": "result"}
CLOSED = {"tool_call_id": "c1", "tool_name": "search", "is_error": False}
TOOL_CALLS = StreamEventType.TOOL_CALLS

NOTICES = {"notices": [{"server": "time", "message": "MCP server time is not available"}]}

CASES: dict[str, tuple[JournalEntry, list[StreamEventType]]] = {
    "create with a message": (entry_of(Transition.CREATE, P, Role.SYSTEM, USER), [M, M, S]),
    "create without a message": (entry_of(Transition.CREATE, W), [S]),
    "fork": (entry_of(Transition.FORK, W, copied_messages=3), [S]),
    "send": (entry_of(Transition.SEND, P, USER), [M, S]),
    "send of the first message": (
        entry_of(Transition.SEND, P, USER, **DESCRIPTION),
        [M, StreamEventType.CHAT, S],
    ),
    "send to a busy chat": (entry_of(Transition.SEND, R, **QUEUED), [Q, S]),
    "send after an error with a queue": (
        entry_of(Transition.SEND, P, USER, queued=5, promoted=4, queue_length=1),
        [M, Q, S],
    ),
    "close_calls, some": (entry_of(Transition.CLOSE_CALLS, R, started=["c2"]), [TOOL_CALLS]),
    "close_calls, the last": (
        entry_of(Transition.CLOSE_CALLS, R, TOOL, closed=[CLOSED]),
        [M, TOOL_CALLS],
    ),
    "notices": (
        entry_of(Transition.COMMIT_STEP, R, ASSISTANT, **NOTICES),
        [M, StreamEventType.NOTICES],
    ),
    "notices at the end": (
        entry_of(Transition.FINISH_TURN, W, ASSISTANT, **NOTICES, queue_length=0),
        [M, StreamEventType.NOTICES, S],
    ),
    "interrupt, running": (entry_of(Transition.INTERRUPT, I), [S]),
    "interrupt, waiting for the client": (entry_of(Transition.INTERRUPT, W, TOOL), [M, S]),
    "interrupt with a queue": (entry_of(Transition.INTERRUPT, P, USER, **PROMOTED), [M, Q, S]),
    "edit": (
        entry_of(Transition.EDIT, P, USER, reset_from=3, queue_length=0),
        [HISTORY_RESET, M, S],
    ),
    "edit with a queue": (
        entry_of(Transition.EDIT, P, USER, reset_from=3, removed=[4, 5], queue_length=0),
        [HISTORY_RESET, M, Q, S],
    ),
    "regenerate": (
        entry_of(Transition.REGENERATE, P, reset_from=3, removed=[4, 5], queue_length=0),
        [HISTORY_RESET, Q, S],
    ),
    "remove_queued": (entry_of(Transition.REMOVE_QUEUED, R, removed=[4], queue_length=1), [Q]),
    "remove_queued, after an error": (
        entry_of(Transition.REMOVE_QUEUED, E, removed=[4], queue_length=1),
        [Q],
    ),
    "promote, running": (entry_of(Transition.PROMOTE, I, head=4, queue_length=2), [Q, S]),
    "promote, waiting for the client": (
        entry_of(Transition.PROMOTE, P, TOOL, USER, **PROMOTED),
        [M, M, Q, S],
    ),
    "send that interrupts": (
        entry_of(Transition.SEND, I, queued=4, head=4, queue_length=2),
        [Q, S],
    ),
    "retry": (entry_of(Transition.RETRY, P), [S]),
    "append": (entry_of(Transition.APPEND, W, USER, ASSISTANT), [M, M]),
    "append to a failed chat": (entry_of(Transition.APPEND, E, USER), [M]),
    "clear": (entry_of(Transition.CLEAR, W, reset_from=2, queue_length=0), [HISTORY_RESET, S]),
    "clear with a queue": (
        entry_of(Transition.CLEAR, W, reset_from=2, removed=[4], queue_length=0),
        [HISTORY_RESET, Q, S],
    ),
    "clear an empty history": (entry_of(Transition.CLEAR, W, queue_length=0), [S]),
    "clear a compacted history": (
        entry_of(Transition.CLEAR, W, reset_from=2, compacted_until=0, queue_length=0),
        [HISTORY_RESET, COMPACTION, S],
    ),
    "edit what a summary covered": (
        entry_of(Transition.EDIT, P, USER, reset_from=3, compacted_until=2, queue_length=0),
        [HISTORY_RESET, COMPACTION, M, S],
    ),
    "request_compaction": (entry_of(Transition.REQUEST_COMPACTION, P), [S]),
    "request_compaction, running": (entry_of(Transition.REQUEST_COMPACTION, R), [S]),
    "compact": (
        entry_of(Transition.COMPACT, R, ASSISTANT, compacted_until=5, settled_part=7),
        [COMPACTION, PREVIEW_RESET, M],
    ),
    "compact, old results only": (
        entry_of(Transition.COMPACT, R, pruned_through=5, settled_part=7),
        [PREVIEW_RESET],
    ),
    "describe": (entry_of(Transition.DESCRIBE, R, **DESCRIPTION), [StreamEventType.CHAT]),
    "set_title": (entry_of(Transition.SET_TITLE, R, **DESCRIPTION), [StreamEventType.CHAT]),
    "describe, after an error": (
        entry_of(Transition.DESCRIBE, E, **DESCRIPTION),
        [StreamEventType.CHAT],
    ),
    "archive": (entry_of(Transition.ARCHIVE, W, **DESCRIPTION), [StreamEventType.CHAT]),
    "archive, after an error": (
        entry_of(Transition.ARCHIVE, E, **DESCRIPTION),
        [StreamEventType.CHAT],
    ),
    "unarchive": (entry_of(Transition.UNARCHIVE, W, **DESCRIPTION), [StreamEventType.CHAT]),
    "claim": (entry_of(Transition.CLAIM, R), [S]),
    "commit_step, answer": (entry_of(Transition.COMMIT_STEP, R, ASSISTANT), [M]),
    "commit_step, tools": (entry_of(Transition.COMMIT_STEP, R, TOOL), [M]),
    "commit_step without a message": (entry_of(Transition.COMMIT_STEP, R), [PREVIEW_RESET]),
    "record_retry": (
        entry_of(Transition.RECORD_RETRY, R, **RETRY),
        [PREVIEW_RESET, StreamEventType.RETRY],
    ),
    "defer": (
        entry_of(Transition.DEFER, P, **RETRY),
        [PREVIEW_RESET, StreamEventType.RETRY, S],
    ),
    "fail_unserved": (
        entry_of(Transition.FAIL_UNSERVED, E, **FAILURE),
        [StreamEventType.ERROR, S],
    ),
    "require_action": (
        entry_of(Transition.REQUIRE_ACTION, A, ASSISTANT, **CALLS),
        [M, StreamEventType.ACTION_REQUIRED, S],
    ),
    "require_action for a stored call": (
        entry_of(Transition.REQUIRE_ACTION, A, **CALLS),
        [PREVIEW_RESET, StreamEventType.ACTION_REQUIRED, S],
    ),
    "answer_action, the last": (
        entry_of(Transition.ANSWER_ACTION, P, TOOL, answered=[ANSWERED]),
        [M, StreamEventType.ACTION_ANSWERED, S],
    ),
    "answer_action while others are asked": (
        entry_of(
            Transition.ANSWER_ACTION,
            A,
            answered=[ANSWERED],
            open=["c2"],
            deadline=CALLS["deadline"],
        ),
        [StreamEventType.ACTION_ANSWERED],
    ),
    "expire_action while others are asked": (
        entry_of(
            Transition.EXPIRE_ACTION,
            A,
            answered=[ANSWERED],
            open=["c2"],
            deadline=CALLS["deadline"],
        ),
        [StreamEventType.ACTION_ANSWERED],
    ),
    "park": (entry_of(Transition.PARK, K, ASSISTANT, **PARKED), [M, S]),
    "park for a stored call": (entry_of(Transition.PARK, K, **PARKED), [PREVIEW_RESET, S]),
    "wake": (entry_of(Transition.WAKE, P, TOOL, closed=[CLOSED]), [M, TOOL_CALLS, S]),
    "submit_tool_results": (entry_of(Transition.SUBMIT_TOOL_RESULTS, P, TOOL), [M, S]),
    "expire_action": (entry_of(Transition.EXPIRE_ACTION, P, TOOL), [M, S]),
    "finish_turn": (entry_of(Transition.FINISH_TURN, W, ASSISTANT), [M, S]),
    "finish_turn without a message": (entry_of(Transition.FINISH_TURN, W), [PREVIEW_RESET, S]),
    "finish_turn with a queue": (
        entry_of(Transition.FINISH_TURN, R, ASSISTANT, USER, **PROMOTED),
        [M, M, Q, S],
    ),
    "finish_turn with a queue, without a message": (
        entry_of(Transition.FINISH_TURN, R, USER, **PROMOTED),
        [PREVIEW_RESET, M, Q, S],
    ),
    "finish_interrupt": (entry_of(Transition.FINISH_INTERRUPT, W, ASSISTANT), [M, S]),
    "finish_interrupt without a message": (
        entry_of(Transition.FINISH_INTERRUPT, W),
        [PREVIEW_RESET, S],
    ),
    "fail": (entry_of(Transition.FAIL, E, **FAILURE), [PREVIEW_RESET, ERROR, S]),
    "release": (entry_of(Transition.RELEASE, P, reason="shutdown"), [PREVIEW_RESET, S]),
    "reap": (entry_of(Transition.REAP, P, reason="worker_dead"), [PREVIEW_RESET, S]),
    "reap, exhausted": (entry_of(Transition.REAP, E, **FAILURE), [PREVIEW_RESET, ERROR, S]),
    "reap_interrupt": (entry_of(Transition.REAP_INTERRUPT, W, ASSISTANT), [M, S]),
    "reap_interrupt without a message": (
        entry_of(Transition.REAP_INTERRUPT, P, USER, **PROMOTED),
        [PREVIEW_RESET, M, Q, S],
    ),
}


NEWER: dict[str, tuple[JournalEntry, list[StreamEventType]]] = {
    "a status": (entry_of(Transition.read("pause"), Status.read("paused")), [S]),
    "a stored message": (
        entry_of(Transition.read("summarize"), W, ASSISTANT, settled_part=9),
        [M, S],
    ),
    "a message of an unknown role": (
        entry_of(Transition.read("x"), W, Role.read("critic")),
        [M, S],
    ),
    "a step that is over": (
        entry_of(Transition.read("pause"), P, settled_part=9),
        [PREVIEW_RESET, S],
    ),
    "a hidden history": (entry_of(Transition.read("rewind"), W, reset_from=3), [HISTORY_RESET, S]),
    "a change of the queue": (entry_of(Transition.read("reorder"), R, **QUEUED), [Q, S]),
    "fields of its own": (entry_of(Transition.read("tag"), R, tags={"a": [1]}), [S]),
}


@pytest.mark.parametrize("name", NEWER)
def test_entry_of_a_newer_version_makes_the_events_that_its_known_fields_tell(name: str) -> None:
    entry, expected = NEWER[name]
    events = list(stream_events(entry))
    assert [event.type for event in events] == expected
    assert events[-1].data == {"status": entry.status, "epoch": 3}


def data_by_type(entry: JournalEntry) -> dict[StreamEventType, Any]:
    return {event.type: event.data for event in stream_events(entry)}


def test_every_transition_has_a_case() -> None:
    assert {entry.transition for entry, _ in CASES.values()} == set(Transition)


@pytest.mark.parametrize("name", CASES)
def test_events_of_an_entry(name: str) -> None:
    entry, expected = CASES[name]
    events = list(stream_events(entry))
    assert [event.type for event in events] == expected
    data = {event.type: event.data for event in events}
    assert [event.data for event in events if event.type is M] == list(entry.messages)
    if Q in data:
        assert data[Q] == {
            "queue_length": entry.data["queue_length"],
            "added": entry.data.get("queued"),
            "removed": [
                *([4] if "promoted" in entry.data else []),
                *entry.data.get("removed", []),
            ],
            "head": entry.data.get("head"),
        }
    if HISTORY_RESET in data:
        assert data[HISTORY_RESET] == {"from_message_id": entry.data["reset_from"]}
    if COMPACTION in data:
        assert data[COMPACTION] == {"compacted_until": entry.data["compacted_until"]}
    if S in data:
        assert data[S] == {"status": entry.status, "epoch": 3}
    if ERROR in data:
        assert data[ERROR] == FAILURE
    if StreamEventType.RETRY in data:
        assert data[StreamEventType.RETRY] == {
            "attempt": 2,
            "delay_seconds": 1.5,
            "next_attempt_at": datetime(2026, 1, 1, tzinfo=UTC),
            "failure": {"kind": "provider_error"},
        }
    if TOOL_CALLS in data:
        assert data[TOOL_CALLS] == {
            "closed": entry.data.get("closed", []),
            "started": entry.data.get("started", []),
            "asked": entry.data.get("asked", []),
        }
    if StreamEventType.NOTICES in data:
        assert data[StreamEventType.NOTICES] == NOTICES
    if StreamEventType.CHAT in data:
        assert data[StreamEventType.CHAT] == DESCRIPTION


def test_action_required_takes_arguments_from_the_message() -> None:
    """The entry has none. A call that was stored before was sent with its own message."""
    entry = entry_of(Transition.REQUIRE_ACTION, A, ASSISTANT, **CALLS)
    (call,) = CALLS["calls"]
    call_part = {"type": "tool-call", **call, "args": '{"city": "Oslo"}', "provider": {"name": "x"}}
    other_part = {"type": "tool-call", "tool_call_id": "c2", "tool_name": "no such", "args": "{}"}
    whole = replace(entry, messages=(replace(entry.messages[0], content=(other_part, call_part)),))
    action = data_by_type(whole)[StreamEventType.ACTION_REQUIRED]
    args = '{"city": "Oslo"}'
    shown = {
        "tool_call_id": call["tool_call_id"],
        "tool_name": call["tool_name"],
        **dict.fromkeys(("message", "schema")),
        **call["question"],
        "question_number": 0,
        "expires_at": IN_FIVE_MINUTES,
    }
    assert action == {"calls": [{**shown, "args": args}], "deadline": IN_FIVE_MINUTES}
    action = data_by_type(replace(entry, messages=()))[StreamEventType.ACTION_REQUIRED]
    assert action == {"calls": [{**shown, "args": None}], "deadline": IN_FIVE_MINUTES}


@pytest.mark.parametrize(
    ("transition", "status"),
    sorted(
        {
            (transition, end)
            for (transition, _), targets in TABLE.items()
            for start, target in targets.items()
            for end in target.statuses
            if end is not start
        }
    ),
)
def test_changed_status_is_the_last_event(transition: Transition, status: Status) -> None:
    """A subscriber that applies every event knows the status, and the reason of an error."""
    all_data = {**QUEUED, **PROMOTED, **FAILURE, **DESCRIPTION, **RETRY, **CALLS}
    events = list(stream_events(entry_of(transition, status, ASSISTANT, **all_data)))
    assert events[-1][:3] == (S, {"status": status, "epoch": 3}, None)
    assert (ERROR in {event.type for event in events}) == (status is E)
