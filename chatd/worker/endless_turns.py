"""Turns that would have no end, seen from the history alone, before each model call."""

from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import Any

from chatd.domain.failure import Failure, FailureKind
from chatd.domain.message import Message, Role, covered_steps
from chatd.domain.tool_choice import WAIT_AGENT
from chatd.worker.turn_limits import TurnLimits

_NAMED_TOOLS = 3
"""Tools that a failure names at most."""

_Round = list[tuple[Any, ...]]
"""The calls of one answer, each with its result and without its id."""


def reason_to_stop(history: Sequence[Message], limits: TurnLimits) -> Failure | None:
    """Return why the model is not called once more in this turn. None: it is."""
    if not history or history[-1].role is Role.USER:
        return None  # as nearly always
    if steps_taken(history) >= limits.max_steps:
        return Failure(
            kind=FailureKind.STEP_LIMIT,
            message=f"the turn took {limits.max_steps} steps without an end",
        )
    most = limits.max_repeated_calls
    rounds = [each for _, each in zip(range(most), _rounds(history), strict=False)]
    if not most or len(rounds) < most or any(each != rounds[0] for each in rounds):
        return None
    names = list(dict.fromkeys(call[0] for call in rounds[0]))[:_NAMED_TOOLS]
    return Failure(
        kind=FailureKind.TOOL_LOOP,
        message=f"the model made the same calls {most} times in a row, with the same results:"
        f" {', '.join(names)}",
    )


def steps_taken(history: Sequence[Message]) -> int:
    """Return the number of model responses since the last user message, also of those in a summary."""
    steps = 0
    for message in reversed(history):
        if message.role is Role.USER:
            return steps + covered_steps(message)
        steps += message.role is Role.ASSISTANT
    return steps


def _rounds(history: Sequence[Message]) -> Iterator[_Round]:
    """Yield the rounds of calls since the last user message, the last one first.

    A round without calls ends them: the model has said something else in between. So does one that
    waits for agents, which takes its time and may do so for long.
    """
    results: dict[str, tuple[Any, ...]] = {}
    for message in takewhile(lambda one: one.role is not Role.USER, reversed(history)):
        parts = message.content
        if message.role is Role.TOOL:
            results = {p["tool_call_id"]: (p["result"], p.get("is_error")) for p in parts}
        elif message.role is Role.ASSISTANT:
            calls = [part for part in parts if part["type"] == "tool-call"]
            if not calls or any(call["tool_name"] == WAIT_AGENT for call in calls):
                return
            yield [
                (call["tool_name"], call.get("args"), *results.get(call["tool_call_id"], ()))
                for call in calls
            ]
