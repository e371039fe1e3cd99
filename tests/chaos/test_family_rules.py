"""The rules of agents find what they are for. The evidence is made by hand, and broken in one place."""

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid5

import pytest

from chaos.audit import RULES, families
from chaos.evidence import Evidence
from chaos.whole_evidence import entry, message
from chaos.whole_tool_evidence import CALLS, TOOL_CHAT, evidence_with_tools, found
from chatd.domain.tool_choice import SPAWN_AGENT, WAIT_AGENT

AGENT = str(uuid5(UUID(TOOL_CHAT), f"2/{CALLS[0]}"))
TASK = "m1000500"


def call_tool(e: Evidence, position: int, tool: str, args: dict[str, Any], result: Any) -> None:
    """Have one of the two calls be of another tool."""
    row = e.tool_calls[TOOL_CHAT][position]
    row["tool_name"] = row["answer"]["tool_name"] = tool
    row["answer"]["result"] = json.dumps(result)
    call = e.messages[TOOL_CHAT][1]["content"][position]
    call |= {"tool_name": tool, "args": json.dumps(args)}


def evidence_with_an_agent() -> Evidence:
    """Return evidence of a chat that started an agent and was told what it said."""
    evidence = evidence_with_tools()
    said = "call 52 answers m1000500: done"
    told = {"agents": [{"id": AGENT, "name": "agent", "answer": said}]}
    call_tool(evidence, 0, SPAWN_AGENT, {"prompt": TASK}, {"id": AGENT, "name": "agent"})
    call_tool(evidence, 1, WAIT_AGENT, {"ids": [AGENT]}, told)
    evidence.effects = []
    evidence.messages[AGENT] = [message(1, 1, "user", TASK), message(2, 3, "assistant", said)]
    evidence.journal[AGENT] = [
        entry(1, "create", "pending", 0, messages=[1]),
        entry(2, "claim", "running", 1),
        entry(3, "finish_turn", "waiting", 1, messages=[2], settled_part=2, queue_length=0),
    ]
    for row in (*evidence.messages[AGENT], *evidence.journal[AGENT]):
        row["chat_id"] = AGENT
    own = {"id": AGENT, "parent_chat_id": TOOL_CHAT, "version": 3, "epoch": 1, "settled_part": 2}
    evidence.chats[AGENT] = evidence.chats[TOOL_CHAT] | own
    call = evidence.model_calls[-1]
    evidence.model_calls.append(
        type(call)(number=52, replica="a", asked=TASK, fault=None, text=said, began=0.0)
    )
    evidence.pictures = []
    return evidence


def agent_is_started_twice(e: Evidence) -> None:
    e.chats["c8"] = e.chats[AGENT] | {"id": "c8"}


def agent_is_of_another_chat(e: Evidence) -> None:
    e.chats[AGENT]["parent_chat_id"] = "c1"


def agent_outlives_its_parent(e: Evidence) -> None:
    for rows in (e.chats, e.messages, e.journal, e.tool_calls):
        del rows[TOOL_CHAT]  # type: ignore[attr-defined]


def agent_has_another_task(e: Evidence) -> None:
    e.messages[AGENT][0]["content"] = [{"type": "text", "text": "m1000501"}]


def parent_is_told_something_else(e: Evidence) -> None:
    e.messages[AGENT][1]["content"] = [{"type": "text", "text": "call 52 answers"}]


def agent_goes_on_after_the_stop(e: Evidence) -> None:
    stop = entry(4, "interrupt", "interrupting", 1) | {"chat_id": TOOL_CHAT}
    e.journal[TOOL_CHAT].append(stop)
    e.journal[AGENT][2]["created_at"] = stop["created_at"].replace(second=30)


CASES: dict[str, list[Callable[[Evidence], None]]] = {
    "agents_are_those_of_their_calls": [
        agent_is_started_twice,
        agent_is_of_another_chat,
        agent_outlives_its_parent,
    ],
    "agents_have_their_task": [agent_has_another_task],
    "answers_of_agents_are_what_they_said": [parent_is_told_something_else],
    "families_stop_together": [agent_goes_on_after_the_stop],
}
"""What each rule finds."""


def test_every_rule_has_a_case() -> None:
    own = {rule.__name__ for rule in RULES if rule.__module__ == families.__name__}
    assert own == set(CASES)


def test_whole_evidence_has_no_violation() -> None:
    assert found(evidence_with_an_agent()) == set()


@pytest.mark.parametrize(
    ("rule", "breaks"),
    [(rule, breaks) for rule, all_breaks in CASES.items() for breaks in all_breaks],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_violation_is_found(rule: str, breaks: Callable[[Evidence], None]) -> None:
    evidence = evidence_with_an_agent()
    breaks(evidence)
    assert rule in found(evidence)


@pytest.mark.parametrize("at", [2, 4, 6])
def test_agent_that_is_stopped_with_its_parent_is_no_violation(at: int) -> None:
    """It was stopped too, had ended already, or was not there yet."""
    evidence = evidence_with_an_agent()
    stop = entry(at, "interrupt", "interrupting", 1) | {"chat_id": TOOL_CHAT}
    evidence.journal[TOOL_CHAT].append(stop)
    if at == 4:
        evidence.journal[AGENT][2] |= {"transition": "interrupt", "created_at": stop["created_at"]}
    assert "families_stop_together" not in found(evidence)
