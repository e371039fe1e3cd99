"""Turns that would have no end are seen from their histories."""

from typing import Any

import pytest

from chatd.domain.failure import FailureKind
from chatd.domain.message import NewMessage, Part, Role
from chatd.domain.tool_choice import WAIT_AGENT
from chatd.worker.endless_turns import reason_to_stop
from chatd.worker.turn_limits import TurnLimits

ASKED = NewMessage(role=Role.USER, content=({"type": "text", "text": "go"},))
THOUGHT = NewMessage(role=Role.ASSISTANT, content=({"type": "text", "text": "Hm."},))
LOOK = ("look", '{"at": 1}', "nothing")
_ids = iter(range(10**6))


def limits(max_repeated_calls: int = 3) -> TurnLimits:
    return TurnLimits(
        stream_idle_timeout_seconds=1,
        model_call_timeout_seconds=1,
        timeout_seconds=1,
        client_tool_timeout_seconds=1,
        max_steps=100,
        max_repeated_calls=max_repeated_calls,
    )


def made(*calls: tuple[str, str, Any], is_error: bool = False) -> list[NewMessage]:
    """Return an answer that makes calls, each a name, arguments and a result, and their results."""
    parts: list[Part] = []
    results: list[Part] = []
    for name, args, result in calls:
        call = {"tool_call_id": f"c{next(_ids)}", "tool_name": name}
        parts.append({"type": "tool-call", **call, "args": args})
        results.append({"type": "tool-result", **call, "result": result, "is_error": is_error})
    return [
        NewMessage(role=Role.ASSISTANT, content=tuple(parts)),
        NewMessage(role=Role.TOOL, content=tuple(reversed(results))),
    ]


PAIR = (LOOK, ("pay", "{}", "paid"))


@pytest.mark.parametrize(
    ("history", "stops"),
    [
        ([], False),
        ([ASKED], False),
        ([ASKED, *made(LOOK), *made(LOOK)], False),
        ([ASKED, *made(LOOK), *made(LOOK), *made(LOOK)], True),
        ([ASKED, *made(*PAIR), *made(*PAIR), *made(*PAIR)], True),
        ([ASKED, *made(*PAIR), *made(LOOK), *made(*PAIR)], False),
        ([ASKED, *made(LOOK), *made(("look", '{"at": 2}', "nothing")), *made(LOOK)], False),
        ([ASKED, *made(LOOK), *made(("look", '{"at": 1}', "a cat")), *made(LOOK)], False),
        ([ASKED, *made(LOOK), *made(LOOK, is_error=True), *made(LOOK)], False),
        ([ASKED, *made(LOOK), *made(LOOK), THOUGHT, *made(LOOK)], False),
        ([ASKED, *made(LOOK), *made(LOOK), ASKED, *made(LOOK)], False),
        ([ASKED, *made(LOOK), *made(LOOK), *made(LOOK), ASKED], False),
        ([ASKED, *(each for _ in range(9) for each in made((WAIT_AGENT, "{}", "later")))], False),
    ],
)
def test_same_calls_with_the_same_results_end_a_turn(history: Any, stops: bool) -> None:
    failure = reason_to_stop(history, limits())
    assert (failure is not None) is stops
    assert reason_to_stop(history, limits(0)) is None
    if failure is not None:
        assert failure.kind is FailureKind.TOOL_LOOP
        assert not failure.retryable
        assert "3 times in a row" in failure.message
        assert "look" in failure.message
