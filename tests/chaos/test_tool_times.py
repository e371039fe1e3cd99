"""The rules of the time of tools find what they are for, and nothing that only was read late."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from chaos.audit import RULES, tool_times
from chaos.evidence import Evidence
from chaos.offered_tools import MCP_HTTP
from chaos.plan import Fault, Kind
from chaos.records import InjectedFault
from chaos.whole_evidence import START, entry
from chaos.whole_tool_evidence import CALLS, TOOL_CHAT, effect, evidence_with_tools, found


def tool_goes_on_after_the_turn(e: Evidence) -> None:
    e.effects[0].ended = START.timestamp() + 5 + 2.5


def connection_is_closed_long_after_the_turn(e: Evidence) -> None:
    end = START.timestamp() + 5
    e.effects[0] = replace(e.effects[0], ended=end + 9, closed=end + 2.5, end="cancelled")


def tool_begins_after_the_turn(e: Evidence) -> None:
    e.effects[0] = effect(0, CALLS[0], "pay", 5 + 2.5)


def call_is_sent_after_the_turn_by_a_process_that_was_stopped(e: Evidence) -> None:
    tool_begins_after_the_turn(e)
    stop_the_replica(e)


def tool_goes_on_after_an_interrupt(e: Evidence) -> None:
    end = entry(5, "finish_turn", "waiting", 1, messages=[4], settled_part=3, queue_length=0)
    stop = entry(5, "interrupt", "interrupting", 1)
    e.journal[TOOL_CHAT][4:] = [
        row | {"chat_id": TOOL_CHAT}
        for row in (
            stop,
            end | {"version": 6, "transition": "finish_interrupt"},
        )
    ]
    e.effects[0].ended = START.timestamp() + 5 + 2.5


def stop_the_replica(e: Evidence) -> None:
    """Have the replica stopped from before the end of the turn until long after it."""
    end = START.timestamp() + 5
    [life] = e.lives
    life.signals = [(end - 1, "SIGSTOP"), (end + 8, "SIGCONT"), *life.signals]


def tool_runs_for_ever(e: Evidence) -> None:
    e.effects[0].ended = e.effects[0].began + 60


CASES: dict[str, list[Callable[[Evidence], None]]] = {
    "nothing_runs_after_a_stop": [
        tool_goes_on_after_the_turn,
        connection_is_closed_long_after_the_turn,
        tool_begins_after_the_turn,
        call_is_sent_after_the_turn_by_a_process_that_was_stopped,
        tool_goes_on_after_an_interrupt,
    ],
    "tools_end_in_time": [tool_runs_for_ever],
}
"""What each rule finds."""


def test_every_rule_has_a_case() -> None:
    own = {rule.__name__ for rule in RULES if rule.__module__ == tool_times.__name__}
    assert own == set(CASES)


@pytest.mark.parametrize(
    ("rule", "breaks"),
    [(rule, breaks) for rule, all_breaks in CASES.items() for breaks in all_breaks],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_violation_is_found(rule: str, breaks: Callable[[Evidence], None]) -> None:
    evidence = evidence_with_tools()
    breaks(evidence)
    assert rule in found(evidence)


def test_request_that_is_read_late_is_no_violation() -> None:
    """A tool server that is stopped reads a request when it goes on, and that its caller is gone."""
    evidence = evidence_with_tools()
    end = START.timestamp() + 5
    late = {"began": end + 8, "ended": end + 9, "closed": end + 0.1, "end": "cancelled"}
    evidence.effects[0] = replace(evidence.effects[0], **late)
    assert found(evidence) == {"results_are_what_the_tools_answered"}


def test_connection_that_a_stopped_process_closes_late_is_no_violation() -> None:
    evidence = evidence_with_tools()
    tool_goes_on_after_the_turn(evidence)
    stop_the_replica(evidence)
    assert "nothing_runs_after_a_stop" not in found(evidence)


@pytest.mark.parametrize(("tool", "is_found"), [(f"{MCP_HTTP}__append", False), ("append", True)])
def test_only_mcp_waits_for_a_stopped_server(tool: str, is_found: bool) -> None:
    evidence = evidence_with_tools()
    tool_goes_on_after_the_turn(evidence)
    evidence.effects[0].tool = tool
    stop = Fault(at=0, kind=Kind.TOOLS_STOPPED, replica="a", seconds=5, seed=1)
    evidence.faults.append(InjectedFault(fault=stop, at=START.timestamp() + 4))
    assert ("nothing_runs_after_a_stop" in found(evidence)) is is_found
