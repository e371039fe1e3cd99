"""Cursors on the wire, and the events that each journal row tells."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatd.domain.chat import Status
from chatd.domain.cursor import Cursor
from chatd.domain.journal import JournalEntry
from chatd.domain.message import Message, Role
from chatd.domain.stream_events import StreamEventType, stream_events
from chatd.domain.transitions import TABLE, Transition

numbers = st.integers(0, 10**18 - 1)
cursors = st.builds(Cursor, numbers, numbers, numbers, numbers)

CHAT = UUID(int=1)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
S, M, Q = StreamEventType.STATUS, StreamEventType.MESSAGE, StreamEventType.QUEUE_UPDATE
RESET, ERROR, GONE = (
    StreamEventType.PREVIEW_RESET,
    StreamEventType.ERROR,
    StreamEventType.HISTORY_RESET,
)


# -- cursors -----------------------------------------------------------------------------------------


@given(cursors)
def test_a_cursor_comes_back_from_the_wire(cursor: Cursor) -> None:
    assert Cursor.parse(str(cursor)) == cursor


@given(cursors)
def test_a_cursor_on_the_wire_fits_a_header(cursor: Cursor) -> None:
    text = str(cursor)
    assert text.isascii()
    assert not set(text) - set("0123456789.+")


@pytest.mark.parametrize(
    "text",
    [
        "", ".", "..", "1", "1.2", "1.2.3.4", "1.2.", ".2.3", "1..3", "a.b.c", "-1.2.3", "1.-2.3",
        " 1.2.3", "1.2.3 ", "1.2.3+", "1.2.3+-1", "1.2.3+x", "1.2.3+1+2", "+1", "1.2.3+1.5",
        "1.2.3\n", "1_0.2.3", "0x1.2.3", "1e3.2.3", "\u0661.2.3", "\u00b2.2.3", f"{10**18}.0.0",
        f"1.2.{'9' * 400}", "1.2.3+" + "9" * 19, "null", "1,2,3",
    ],
)  # fmt: skip
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a cursor"):
        Cursor.parse(text)


@given(st.text(alphabet="0123456789.+-_ ex\u0663", max_size=24))
def test_any_text_is_a_cursor_or_is_refused(text: str) -> None:
    try:
        cursor = Cursor.parse(text)
    except ValueError:
        return
    assert Cursor.parse(str(cursor)) == cursor
    assert min(cursor.version, cursor.epoch, cursor.part, cursor.events_sent) >= 0


@given(cursors, st.integers(0, 5), st.integers(1, 5))
def test_a_cursor_after_an_entry(cursor: Cursor, epochs: int, versions: int) -> None:
    entry = replace(
        row(Transition.DESCRIBE, Status.WAITING),
        version=cursor.version + versions,
        epoch=cursor.epoch + epochs,
    )
    after = cursor.advanced_past(entry)
    assert (after.version, after.epoch, after.events_sent) == (entry.version, entry.epoch, 0)
    assert after.part == (0 if epochs else cursor.part)
    assert after > cursor


# -- what is told ------------------------------------------------------------------------------------


def message(role: Role, number: int = 1) -> Message:
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


def row(move: Transition, status: Status, *roles: Role, **data: Any) -> JournalEntry:
    return JournalEntry(
        chat_id=CHAT,
        version=7,
        created_at=NOW,
        transition=move,
        status=status,
        epoch=3,
        worker_id=None,
        data=data,
        messages=tuple(message(role, n) for n, role in enumerate(roles)),
    )


W, P, R = Status.WAITING, Status.PENDING, Status.RUNNING
I, A, E = Status.INTERRUPTING, Status.REQUIRES_ACTION, Status.ERROR  # noqa: E741 - as in the table
SAID, ANSWERED, TOOLS = Role.USER, Role.ASSISTANT, Role.TOOL
QUEUED: Mapping[str, Any] = {"queued": 4, "queue_length": 1}
PROMOTED: Mapping[str, Any] = {"promoted": 4, "queue_length": 0}
REASON: Mapping[str, Any] = {"last_error": "no", "last_error_detail": {"kind": "auth"}}
SHOWN: Mapping[str, Any] = {"title": "t", "labels": {"a": "b"}, "archived": True}
TRIED: Mapping[str, Any] = {
    "attempt": 2,
    "delay_seconds": 1.5,
    "next_attempt_at": "2026-01-01T00:00:00Z",
    "failure": {"kind": "provider_error"},
    "settled_part": 9,
}
CALLS: Mapping[str, Any] = {
    "calls": [{"tool_call_id": "c1", "tool_name": "weather"}],
    "deadline": "2026-01-01T00:05:00Z",
}

TELLS: dict[str, tuple[JournalEntry, list[StreamEventType]]] = {
    "create, asked": (row(Transition.CREATE, P, Role.SYSTEM, SAID), [M, M, S]),
    "create, empty": (row(Transition.CREATE, W), [S]),
    "send": (row(Transition.SEND, P, SAID), [M, S]),
    "send, queued": (row(Transition.SEND, R, **QUEUED), [Q, S]),
    "send, after an error with a queue": (
        row(Transition.SEND, P, SAID, queued=5, promoted=4, queue_length=1),
        [M, Q, S],
    ),
    "interrupt, asked": (row(Transition.INTERRUPT, I), [S]),
    "interrupt, stopped": (row(Transition.INTERRUPT, W, TOOLS), [M, S]),
    "interrupt, promoted": (row(Transition.INTERRUPT, P, SAID, **PROMOTED), [M, Q, S]),
    "edit": (row(Transition.EDIT, P, SAID, reset_from=3, queue_length=0), [GONE, M, S]),
    "edit, with a queue": (
        row(Transition.EDIT, P, SAID, reset_from=3, removed=[4, 5], queue_length=0),
        [GONE, M, Q, S],
    ),
    "remove_queued": (row(Transition.REMOVE_QUEUED, R, removed=[4], queue_length=1), [Q]),
    "remove_queued, of an error": (
        row(Transition.REMOVE_QUEUED, E, removed=[4], queue_length=1),
        [Q],
    ),
    "promote, running": (row(Transition.PROMOTE, I, head=4, queue_length=2), [Q, S]),
    "promote, said": (row(Transition.PROMOTE, P, TOOLS, SAID, **PROMOTED), [M, M, Q, S]),
    "send, overtaking": (row(Transition.SEND, I, queued=4, head=4, queue_length=2), [Q, S]),
    "retry": (row(Transition.RETRY, P), [S]),
    "clear": (row(Transition.CLEAR, W, reset_from=2, queue_length=0), [GONE, S]),
    "clear, with a queue": (
        row(Transition.CLEAR, W, reset_from=2, removed=[4], queue_length=0),
        [GONE, Q, S],
    ),
    "clear, nothing there": (row(Transition.CLEAR, W, queue_length=0), [S]),
    "describe": (row(Transition.DESCRIBE, R, **SHOWN), [StreamEventType.CHAT]),
    "describe, of an error": (row(Transition.DESCRIBE, E, **SHOWN), [StreamEventType.CHAT]),
    "archive": (row(Transition.ARCHIVE, W, **SHOWN), [StreamEventType.CHAT]),
    "archive, of an error": (row(Transition.ARCHIVE, E, **SHOWN), [StreamEventType.CHAT]),
    "unarchive": (row(Transition.UNARCHIVE, W, **SHOWN), [StreamEventType.CHAT]),
    "claim": (row(Transition.CLAIM, R), [S]),
    "commit_step, answer": (row(Transition.COMMIT_STEP, R, ANSWERED), [M]),
    "commit_step, tools": (row(Transition.COMMIT_STEP, R, TOOLS), [M]),
    "commit_step, nothing": (row(Transition.COMMIT_STEP, R), [RESET]),
    "record_retry": (row(Transition.RECORD_RETRY, R, **TRIED), [RESET, StreamEventType.RETRY]),
    "require_action": (
        row(Transition.REQUIRE_ACTION, A, ANSWERED, **CALLS),
        [M, StreamEventType.ACTION_REQUIRED, S],
    ),
    "require_action, of a call that is stored": (
        row(Transition.REQUIRE_ACTION, A, **CALLS),
        [RESET, StreamEventType.ACTION_REQUIRED, S],
    ),
    "submit_tool_results": (row(Transition.SUBMIT_TOOL_RESULTS, P, TOOLS), [M, S]),
    "expire_action": (row(Transition.EXPIRE_ACTION, P, TOOLS), [M, S]),
    "finish_turn": (row(Transition.FINISH_TURN, W, ANSWERED), [M, S]),
    "finish_turn, nothing": (row(Transition.FINISH_TURN, W), [RESET, S]),
    "finish_turn, promoted": (
        row(Transition.FINISH_TURN, R, ANSWERED, SAID, **PROMOTED),
        [M, M, Q, S],
    ),
    "finish_turn, promoted, nothing": (
        row(Transition.FINISH_TURN, R, SAID, **PROMOTED),
        [RESET, M, Q, S],
    ),
    "finish_interrupt": (row(Transition.FINISH_INTERRUPT, W, ANSWERED), [M, S]),
    "finish_interrupt, nothing": (row(Transition.FINISH_INTERRUPT, W), [RESET, S]),
    "fail": (row(Transition.FAIL, E, **REASON), [RESET, ERROR, S]),
    "release": (row(Transition.RELEASE, P, reason="shutdown"), [RESET, S]),
    "reap": (row(Transition.REAP, P, reason="worker_dead"), [RESET, S]),
    "reap, given up": (row(Transition.REAP, E, **REASON), [RESET, ERROR, S]),
    "reap_interrupt": (row(Transition.REAP_INTERRUPT, W, ANSWERED), [M, S]),
    "reap_interrupt, nothing": (
        row(Transition.REAP_INTERRUPT, P, SAID, **PROMOTED),
        [RESET, M, Q, S],
    ),
}


def data_by_type(entry: JournalEntry) -> dict[StreamEventType, Any]:
    return {event.type: event.data for event in stream_events(entry)}


def test_every_move_is_tried() -> None:
    assert {entry.transition for entry, _ in TELLS.values()} == set(Transition)


@pytest.mark.parametrize("name", TELLS)
def test_what_a_row_tells(name: str) -> None:
    entry, expected = TELLS[name]
    events = list(stream_events(entry))
    assert [event.type for event in events] == expected
    fields = {event.type: event.data for event in events}
    assert [event.data for event in events if event.type is M] == list(entry.messages)
    if Q in fields:
        assert fields[Q] == {
            "queue_length": entry.data["queue_length"],
            "added": entry.data.get("queued"),
            "removed": [
                *([4] if "promoted" in entry.data else []),
                *entry.data.get("removed", []),
            ],
            "head": entry.data.get("head"),
        }
    if GONE in fields:
        assert fields[GONE] == {"from_message_id": entry.data["reset_from"]}
    if S in fields:
        assert fields[S] == {"status": entry.status, "epoch": 3}
    if ERROR in fields:
        assert fields[ERROR] == REASON
    if StreamEventType.RETRY in fields:
        assert fields[StreamEventType.RETRY] == {
            k: v for k, v in TRIED.items() if k != "settled_part"
        }
    if StreamEventType.CHAT in fields:
        assert fields[StreamEventType.CHAT] == SHOWN


def test_the_client_is_told_what_to_run_from_the_row_and_its_message() -> None:
    """Arguments are in the message alone; of a call that was stored before, they have been told."""
    entry = row(Transition.REQUIRE_ACTION, A, ANSWERED, **CALLS)
    (call,) = CALLS["calls"]
    made = {"type": "tool-call", **call, "args": '{"city": "Oslo"}', "provider": {"name": "x"}}
    other = {"type": "tool-call", "tool_call_id": "c2", "tool_name": "no such", "args": "{}"}
    whole = replace(entry, messages=(replace(entry.messages[0], content=(other, made)),))
    told_of = data_by_type(whole)[StreamEventType.ACTION_REQUIRED]
    args = '{"city": "Oslo"}'
    assert told_of == {"calls": [{**call, "args": args}], "deadline": CALLS["deadline"]}
    told_of = data_by_type(replace(entry, messages=()))[StreamEventType.ACTION_REQUIRED]
    assert told_of == {"calls": [{**call, "args": None}], "deadline": CALLS["deadline"]}


@pytest.mark.parametrize(
    ("move", "status"),
    sorted(
        {
            (move, end)
            for (move, _), cells in TABLE.items()
            for start, to in cells.items()
            for end in to.statuses
            if end is not start
        }
    ),
)
def test_whoever_changes_the_status_says_so(move: Transition, status: Status) -> None:
    """A viewer who applies every event knows the status, and why it is an error."""
    everything = {**QUEUED, **PROMOTED, **REASON, **SHOWN, **TRIED, **CALLS}
    events = list(stream_events(row(move, status, ANSWERED, **everything)))
    assert events[-1] == (S, {"status": status, "epoch": 3}, None)
    assert (ERROR in {event.type for event in events}) == (status is E)
