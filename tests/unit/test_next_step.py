"""Next step of a turn, from the stored history, also after a crash between any two rows."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatd.domain.message import NewMessage, Part, PendingToolCall, Role
from chatd.worker.next_step import (
    AwaitClientTools,
    CallModel,
    Finish,
    RejectUnknownTools,
    next_step,
    steps_taken,
)


def text(words: str = "x") -> Part:
    return {"type": "text", "text": words}


def call(name: str) -> Part:
    return {"type": "tool-call", "tool_call_id": name, "tool_name": "f", "args": "{}"}


def result(name: str) -> Part:
    return {"type": "tool-result", "tool_call_id": name, "tool_name": "f", "result": "1"}


def stored(role: Role, *parts: Part) -> NewMessage:
    return NewMessage(role=role, content=parts)


SYSTEM = stored(Role.SYSTEM, text("be brief"))
USER = stored(Role.USER, text())
ANSWER = stored(Role.ASSISTANT, text())
CALLS = stored(Role.ASSISTANT, text(), call("a"), call("b"))

CASES: dict[str, tuple[list[NewMessage], Any]] = {
    "empty history": ([], Finish()),
    "only a prompt": ([SYSTEM], Finish()),
    "user message": ([SYSTEM, USER], CallModel()),
    "two user messages": ([USER, USER], CallModel()),
    "answered": ([USER, ANSWER], Finish()),
    "empty response": ([USER, stored(Role.ASSISTANT)], Finish()),
    "second user message": ([USER, ANSWER, USER], CallModel()),
    "tools were called": ([USER, CALLS], RejectUnknownTools((call("a"), call("b")))),
    "one tool has answered": (
        [USER, CALLS, stored(Role.TOOL, result("a"))],
        RejectUnknownTools((call("b"),)),
    ),
    "all tools have answered": (
        [USER, CALLS, stored(Role.TOOL, result("b")), stored(Role.TOOL, result("a"))],
        CallModel(),
    ),
    "all tools have answered at once": (
        [USER, CALLS, stored(Role.TOOL, result("a"), result("b"))],
        CallModel(),
    ),
    "a tool was called again": (
        [USER, CALLS, stored(Role.TOOL, result("a"), result("b")), CALLS],
        RejectUnknownTools((call("a"), call("b"))),
    ),
    "the model has seen the results": (
        [USER, CALLS, stored(Role.TOOL, result("a"), result("b")), ANSWER],
        Finish(),
    ),
    "a call that nobody answered is settled by what the user says": (
        [USER, CALLS, USER],
        CallModel(),
    ),
    "a settled call stays settled": ([USER, CALLS, USER, ANSWER], Finish()),
    "a prompt at the end changes nothing": ([USER, SYSTEM], CallModel()),
    "result without a call": ([USER, stored(Role.TOOL, result("z"))], CallModel()),
}


@pytest.mark.parametrize("name", CASES)
def test_next_step_without_client_tools(name: str) -> None:
    history, expected = CASES[name]
    assert next_step(history) == expected


THE_CLIENTS: dict[str, tuple[list[NewMessage], Any]] = {
    "calls of the client": (
        [USER, CALLS],
        AwaitClientTools((PendingToolCall(call("a"), None), PendingToolCall(call("b"), None))),
    ),
    "the client has answered one": (
        [USER, CALLS, stored(Role.TOOL, result("b"))],
        AwaitClientTools((PendingToolCall(call("a"), None),)),
    ),
    "the client has answered": (
        [USER, CALLS, stored(Role.TOOL, result("a"), result("b"))],
        CallModel(),
    ),
    "calls of the client that were not stored as pending": (
        [USER, ANSWER, USER, CALLS],
        AwaitClientTools((PendingToolCall(call("a"), None), PendingToolCall(call("b"), None))),
    ),
    "the same id once more is a call of its own": (
        [
            USER,
            CALLS,
            stored(Role.TOOL, result("a"), result("b")),
            stored(Role.ASSISTANT, call("a")),
        ],
        AwaitClientTools((PendingToolCall(call("a"), None),)),
    ),
    "user message after open calls": ([USER, CALLS, USER], CallModel()),
}


@pytest.mark.parametrize("name", THE_CLIENTS)
def test_next_step_with_a_client_tool(name: str) -> None:
    history, expected = THE_CLIENTS[name]
    assert next_step(history, client_tools={"f", "g"}) == expected


def test_unknown_tools_are_not_requested_of_the_client() -> None:
    other = {**call("b"), "tool_name": "no such"}
    history = [USER, stored(Role.ASSISTANT, call("a"), other)]
    assert next_step(history, client_tools={"f"}) == AwaitClientTools(
        (PendingToolCall(call("a"), None),), unknown_calls=(other,)
    )
    assert next_step(history, client_tools={"g"}) == RejectUnknownTools((call("a"), other))


def play(history: list[NewMessage], calls: list[int]) -> list[NewMessage]:
    """Continue a turn in which the model calls this many tools at each step, and then answers."""
    for _ in range(100):
        match next_step(history):
            case CallModel():
                step = steps_taken(history)
                wanted = calls[step] if step < len(calls) else 0
                parts = [call(f"{len(history)}-{n}") for n in range(wanted)]
                history = [*history, stored(Role.ASSISTANT, text(), *parts)]
            case RejectUnknownTools(open_calls):
                (one, *_) = open_calls
                history = [*history, stored(Role.TOOL, result(one["tool_call_id"]))]
            case Finish():
                return history
    raise AssertionError("the turn does not end")


@given(st.lists(st.integers(0, 3), max_size=5), st.data())
def test_turn_resumes_at_the_right_step_after_a_crash(
    calls: list[int], data: st.DataObject
) -> None:
    """Whatever was stored when the process died, the turn goes on to the same history."""
    whole = play([SYSTEM, USER], calls)
    stored = whole[: data.draw(st.integers(2, len(whole)))]
    assert play(stored, calls) == whole


@given(st.lists(st.sampled_from([SYSTEM, USER, ANSWER, CALLS, stored(Role.TOOL, result("a"))])))
def test_turn_ends_without_open_tool_calls(history: list[NewMessage]) -> None:
    whole = play(history, [])
    assert whole[: len(history)] == history
    since_user = [m for m in whole[_after_last_user(whole) :] if m.role is not Role.SYSTEM]
    made = [p["tool_call_id"] for m in since_user for p in m.content if p["type"] == "tool-call"]
    answered = [
        p["tool_call_id"] for m in since_user for p in m.content if p["type"] == "tool-result"
    ]
    assert set(made) <= set(answered)


def _after_last_user(history: list[NewMessage]) -> int:
    return max((n for n, message in enumerate(history) if message.role is Role.USER), default=0)


@pytest.mark.parametrize(
    ("history", "steps"),
    [
        ([], 0),
        ([USER], 0),
        ([USER, ANSWER], 1),
        ([USER, ANSWER, USER], 0),
        ([USER, ANSWER, USER, CALLS, stored(Role.TOOL, result("a")), ANSWER], 2),
        ([ANSWER, ANSWER], 2),
    ],
)
def test_steps_taken_counts_since_the_last_user_message(history: Any, steps: int) -> None:
    assert steps_taken(history) == steps
