"""Next step of a turn, from the stored history, also after a crash between any two rows."""

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatd.domain.agents import Wait
from chatd.domain.message import PAUSED, NewMessage, Part, Role
from chatd.domain.permission import Permission
from chatd.domain.question import CLIENT_RUNS, MAY_RUN, Question
from chatd.domain.tool_call import (
    CallPolicy,
    CallState,
    Executor,
    NewToolCall,
    ToolCall,
)
from chatd.worker.endless_turns import steps_taken
from chatd.worker.next_step import (
    AwaitAgents,
    AwaitAnswers,
    CallModel,
    Finish,
    NextStep,
    OpenCalls,
    RunCalls,
    ToolNames,
    errors_of,
    next_step,
)


def text(words: str = "x") -> Part:
    return {"type": "text", "text": words}


def call(name: str, tool: str = "f") -> Part:
    return {"type": "tool-call", "tool_call_id": name, "tool_name": tool, "args": "{}"}


def result(name: str) -> Part:
    return {"type": "tool-result", "tool_call_id": name, "tool_name": "f", "result": "1"}


def stored(role: Role, *parts: Part) -> NewMessage:
    return NewMessage(role=role, content=parts)


SYSTEM = stored(Role.SYSTEM, text("be brief"))
USER = stored(Role.USER, text())
ANSWER = stored(Role.ASSISTANT, text())
CALLS = stored(Role.ASSISTANT, text(), call("a"), call("b"))

NO_TOOLS, THE_CLIENTS = ToolNames(), ToolNames(client={"f", "g"})
THE_SERVERS = ToolNames(server={"f": CallPolicy.IDEMPOTENT}, parallel=2)


def permission_of(name: str) -> Permission:
    return {"a": Permission.ASK, "d": Permission.DENY}.get(name, Permission.ALLOW)


GUARDED = ToolNames(
    client={"c"}, server=dict.fromkeys("adf", CallPolicy.IDEMPOTENT), permission=permission_of
)
MIXED = ToolNames(client={"g"}, server={"f": CallPolicy.AT_MOST_ONCE, "g": CallPolicy.IDEMPOTENT})


def unknown(*calls: Part) -> OpenCalls:
    """Return the step that answers calls of tools that do not exist."""
    return OpenCalls(
        tuple(
            NewToolCall(
                part=part,
                message_id=None,
                state=CallState.CLOSED,
                error=f"There is no tool named {part['tool_name']}.",
            )
            for part in calls
        )
    )


def asked(part: Part) -> NewToolCall:
    return NewToolCall(
        part=part,
        message_id=None,
        state=CallState.ASKED,
        executor=Executor.CLIENT,
        question=CLIENT_RUNS,
    )


def to_approve(part: Part, policy: CallPolicy = CallPolicy.AT_MOST_ONCE) -> NewToolCall:
    return NewToolCall(
        part=part, message_id=None, state=CallState.ASKED, policy=policy, question=MAY_RUN
    )


def of_server(
    part: Part,
    state: CallState = CallState.STARTED,
    policy: CallPolicy = CallPolicy.IDEMPOTENT,
) -> NewToolCall:
    return NewToolCall(part=part, message_id=None, state=state, policy=policy)


PAUSED_ANSWER = NewMessage(role=Role.ASSISTANT, content=(), finish_reason=PAUSED)
CASES: dict[str, tuple[list[NewMessage], Any]] = {
    "empty history": ([], Finish()),
    "only a prompt": ([SYSTEM], Finish()),
    "user message": ([SYSTEM, USER], CallModel()),
    "two user messages": ([USER, USER], CallModel()),
    "answered": ([USER, ANSWER], Finish()),
    "the provider paused its answer": ([USER, PAUSED_ANSWER], CallModel()),
    "it has gone on": ([USER, PAUSED_ANSWER, ANSWER], Finish()),
    "it called a tool before": (
        [USER, NewMessage(role=Role.ASSISTANT, content=(call("a"),), finish_reason=PAUSED)],
        unknown(call("a")),
    ),
    "empty response": ([USER, stored(Role.ASSISTANT)], Finish()),
    "second user message": ([USER, ANSWER, USER], CallModel()),
    "tools were called": ([USER, CALLS], unknown(call("a"), call("b"))),
    "one tool has answered": (
        [USER, CALLS, stored(Role.TOOL, result("a"))],
        unknown(call("b")),
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
        unknown(call("a"), call("b")),
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
def test_next_step_without_tools(name: str) -> None:
    history, expected = CASES[name]
    assert next_step(history, tools=NO_TOOLS) == expected


WITH_TOOLS: dict[str, tuple[ToolNames, list[NewMessage], NextStep]] = {
    "calls of the client": (
        THE_CLIENTS,
        [USER, CALLS],
        OpenCalls((asked(call("a")), asked(call("b")))),
    ),
    "the client has answered one": (
        THE_CLIENTS,
        [USER, CALLS, stored(Role.TOOL, result("b"))],
        OpenCalls((asked(call("a")),)),
    ),
    "the client has answered": (
        THE_CLIENTS,
        [USER, CALLS, stored(Role.TOOL, result("a"), result("b"))],
        CallModel(),
    ),
    "the same id once more is a call of its own": (
        THE_CLIENTS,
        [
            USER,
            CALLS,
            stored(Role.TOOL, result("a"), result("b")),
            stored(Role.ASSISTANT, call("a")),
        ],
        OpenCalls((asked(call("a")),)),
    ),
    "user message after open calls": (THE_CLIENTS, [USER, CALLS, USER], CallModel()),
    "calls of the server, more than run at once": (
        THE_SERVERS,
        [USER, stored(Role.ASSISTANT, call("a"), call("b"), call("c"))],
        OpenCalls(
            (of_server(call("a")), of_server(call("b")), of_server(call("c"), CallState.READY))
        ),
    ),
    "calls that are allowed, asked, denied, the client's and unknown": (
        GUARDED,
        [USER, stored(Role.ASSISTANT, *[call(f"call {name}", name) for name in "fadcx"])],
        OpenCalls(
            (
                of_server(call("call f", "f")),
                to_approve(call("call a", "a"), CallPolicy.IDEMPOTENT),
                NewToolCall(
                    part=call("call d", "d"),
                    message_id=None,
                    state=CallState.CLOSED,
                    error="This server does not allow d here.",
                ),
                asked(call("call c", "c")),
                *unknown(call("call x", "x")).calls,
            )
        ),
    ),
    "calls of both and of nobody": (
        MIXED,
        [USER, stored(Role.ASSISTANT, call("a"), call("b", "g"), call("c", "no such"))],
        OpenCalls(
            (
                of_server(call("a"), policy=CallPolicy.AT_MOST_ONCE),
                asked(call("b", "g")),
                *unknown(call("c", "no such")).calls,
            )
        ),
    ),
}


@pytest.mark.parametrize("name", WITH_TOOLS)
def test_next_step_with_tools(name: str) -> None:
    tools, history, expected = WITH_TOOLS[name]
    assert next_step(history, tools=tools) == expected


def row(
    name: str,
    state: CallState,
    *,
    policy: CallPolicy = CallPolicy.AT_MOST_ONCE,
    tries: int = 1,
    epoch: int = 5,
    tool: str = "f",
    executor: Executor = Executor.SERVER,
    question: Question | None = None,
) -> ToolCall:
    return ToolCall(
        id=name,
        name=tool,
        message_id=1,
        state=state,
        policy=policy,
        tries=tries,
        epoch=epoch,
        executor=executor,
        question=question,
    )


STARTED, READY, ASKED = CallState.STARTED, CallState.READY, CallState.ASKED
IDEMPOTENT = CallPolicy.IDEMPOTENT
OWN = row("a", STARTED)
OTHERS = row("a", STARTED, epoch=4)
AGAIN = row("a", STARTED, policy=IDEMPOTENT, tries=2, epoch=4)
WORN_OUT = row("a", STARTED, policy=IDEMPOTENT, tries=3, epoch=4)
WAITS = row("b", READY, tries=0)
CLIENTS = row("b", ASKED, tries=0, executor=Executor.CLIENT, question=CLIENT_RUNS)
TO_APPROVE = row("a", ASKED, tries=0, policy=IDEMPOTENT, question=MAY_RUN)

LEDGERS: dict[str, tuple[list[ToolCall], NextStep]] = {
    "started for this worker": ([OWN], RunCalls(run=(OWN,))),
    "started by an earlier worker": ([OTHERS], RunCalls(unknown=(OTHERS,))),
    "idempotent, started by an earlier worker": ([AGAIN], RunCalls(start=(AGAIN,))),
    "idempotent, started too often": ([WORN_OUT], RunCalls(unknown=(WORN_OUT,))),
    "ready": ([WAITS], RunCalls(start=(WAITS,))),
    "the server's calls come first": ([OWN, CLIENTS], RunCalls(run=(OWN,))),
    "an unknown outcome is stored before the client is asked": (
        [OTHERS, CLIENTS],
        RunCalls(unknown=(OTHERS,)),
    ),
    "asked": ([CLIENTS], AwaitAnswers((asked(call("b")),))),
    "asked of the client and of a person": (
        [TO_APPROVE, CLIENTS],
        AwaitAnswers((to_approve(call("a"), IDEMPOTENT), asked(call("b")))),
    ),
    "what was allowed runs, when nothing is asked": ([WAITS], RunCalls(start=(WAITS,))),
}


@pytest.mark.parametrize("name", LEDGERS)
def test_next_step_with_calls_in_the_ledger(name: str) -> None:
    """The configured tools of today do not matter any more."""
    ledger, expected = LEDGERS[name]
    for tools in (NO_TOOLS, THE_CLIENTS, MIXED):
        assert next_step([USER, CALLS], ledger, tools=tools, epoch=5) == expected


def test_call_that_was_allowed_and_is_denied_by_now_does_not_start() -> None:
    waits = row("b", READY, tries=0, tool="d")
    assert next_step([USER, CALLS], [waits, OWN], tools=GUARDED, epoch=5) == RunCalls(
        run=(OWN,), denied=(waits,)
    )


WAIT = Wait(chat_ids=(UUID(int=7),), for_all=True, seconds=60)


def waits(name: str, args: str) -> Wait | None:
    return WAIT if name == "w" and args == "{}" else None


AGENTS = ToolNames(
    client={"c"}, server=dict.fromkeys("adfw", IDEMPOTENT), permission=permission_of, wait=waits
)
PARKED = CallState.PARKED


def waiting(part: Part, state: CallState = READY, message_id: int | None = None) -> NewToolCall:
    """Return a call that waits for other chats."""
    return NewToolCall(part=part, message_id=message_id, state=state, policy=IDEMPOTENT, wait=WAIT)


def test_call_that_waits_for_other_chats_does_not_run() -> None:
    calls = [call("1", "w"), call("2", "f"), call("3", "c"), call("4", "w")]
    step = next_step([USER, stored(Role.ASSISTANT, *calls)], tools=AGENTS)
    assert isinstance(step, OpenCalls)
    assert [each.state for each in step.calls] == [READY, STARTED, ASKED, READY]
    assert [each.wait for each in step.calls] == [WAIT, None, None, WAIT]
    assert step.server_runs
    assert step.asks


def test_calls_that_all_wait_for_other_chats_are_neither_run_nor_asked() -> None:
    step = next_step([USER, stored(Role.ASSISTANT, call("1", "w"))], tools=AGENTS)
    assert step == OpenCalls((waiting(call("1", "w")),))
    assert not step.server_runs
    assert not step.asks


W = row("a", READY, policy=IDEMPOTENT, tries=0, tool="w")
W_ASKED = row("a", ASKED, policy=IDEMPOTENT, tries=0, tool="w", question=MAY_RUN)
F_READY = row("b", READY, tries=0)
F_ASKED = row("b", ASKED, tries=0, question=MAY_RUN)
PARKING = {
    "a ready one": ([W], AwaitAgents((waiting(call("a"), PARKED),))),
    "one that is parked": ([row("a", PARKED, tool="w")], AwaitAgents()),
    "one of both": (
        [row("b", PARKED, tool="w"), W],
        AwaitAgents((waiting(call("a"), PARKED),)),
    ),
    "tools run first": ([W, OWN], RunCalls(run=(OWN,))),
    "tools start first": ([W, F_READY], RunCalls(start=(F_READY,))),
    "people are asked first": ([W, F_ASKED], AwaitAnswers((to_approve(call("b")),))),
    "people are asked about the wait": (
        [W_ASKED],
        AwaitAnswers((to_approve(call("a"), IDEMPOTENT),)),
    ),
}


@pytest.mark.parametrize("name", PARKING)
def test_turn_waits_for_other_chats_last(name: str) -> None:
    ledger, expected = PARKING[name]
    assert next_step([USER, CALLS], ledger, tools=AGENTS, epoch=5) == expected


def test_arguments_that_a_person_changed_say_what_a_call_waits_for() -> None:
    changed = replace(W, args={"ids": []})
    assert next_step([USER, CALLS], [changed], tools=AGENTS, epoch=5) == RunCalls(start=(changed,))


def play(history: list[NewMessage], calls: list[int]) -> list[NewMessage]:
    """Continue a turn in which the model calls this many tools at each step, and then answers."""
    for _ in range(100):
        match next_step(history, tools=NO_TOOLS):
            case CallModel():
                step = steps_taken(history)
                wanted = calls[step] if step < len(calls) else 0
                parts = [call(f"{len(history)}-{n}") for n in range(wanted)]
                history = [*history, stored(Role.ASSISTANT, text(), *parts)]
            case OpenCalls(opened):
                history = [*history, errors_of(opened[:1])]
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
