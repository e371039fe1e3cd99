"""Every rule of tools finds what it is for. The evidence is made by hand, and broken in one place."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chaos.audit import RULES, approvals, audit, tools
from chaos.evidence import Evidence
from chaos.records import Request
from chaos.whole_evidence import START
from chaos.whole_tool_evidence import CALLS, TOOL_CHAT, effect, evidence_with_tools, found
from chatd.domain.tool_call_errors import CANCELLED, OUTCOME_UNKNOWN
from chatd.domain.tool_choice import ASK_USER_TOOL


def answer_otherwise(e: Evidence, text: str, *, is_error: bool) -> None:
    """Have another result in the ledger and in the history, as a statement stores both."""
    row = e.tool_calls[TOOL_CHAT][0]
    row["is_error"] = row["answer"]["is_error"] = is_error
    row["answer"]["result"] = text


def tool_runs_twice(e: Evidence) -> None:
    e.effects.append(effect(2, CALLS[0], "pay", 3.2))


def mcp_tool_runs_twice(e: Evidence) -> None:
    """MCP has no key of a call, so its effects have the id."""
    row = e.tool_calls[TOOL_CHAT][0]
    row["tool_name"] = "desk__append"
    more = {"tool": "desk__append", "key": CALLS[0]}
    e.effects[0] = replace(e.effects[0], **more)
    e.effects.append(replace(e.effects[0], number="7-2"))


def tool_runs_twice_in_a_deleted_chat(e: Evidence) -> None:
    tool_runs_twice(e)
    del e.tool_calls[TOOL_CHAT]


def idempotent_tool_runs_more_often_than_it_was_started(e: Evidence) -> None:
    e.effects.append(effect(2, CALLS[1], "read", 3.2))


def idempotent_tool_runs_four_times(e: Evidence) -> None:
    e.tool_calls[TOOL_CHAT][1]["tries"] = 4
    e.effects += [effect(n, CALLS[1], "read", 3.2) for n in (2, 3, 4)]


def effect_has_no_call(e: Evidence) -> None:
    e.effects.append(effect(2, "call_52_0", "pay", 3.2))


def effect_is_of_another_tool(e: Evidence) -> None:
    e.effects[0].tool = "read"


def tool_was_not_chosen(e: Evidence) -> None:
    e.chats[TOOL_CHAT]["server_tools"] = {"http": ["read"]}


def mcp_server_was_not_chosen(e: Evidence) -> None:
    mcp_tool_runs_twice(e)
    e.chats[TOOL_CHAT]["server_tools"] = {"http": ["pay"], "mcp": ["shop"]}


def ask(e: Evidence, **decision: Any) -> None:
    """Have the first call asked, and answered as given."""
    row = e.tool_calls[TOOL_CHAT][0]
    row["question"], row["decision"] = {"kind": "approval"}, decision or None


def answer(e: Evidence, status: int = 200, response: Any = None, **given: Any) -> None:
    body = {"answers": [{"tool_call_id": CALLS[0], **given}]}
    e.requests.append(
        Request(
            number=9,
            operation="answer",
            method="POST",
            path="",
            chat_id=TOOL_CHAT,
            body=body,
            status=status,
            response=response or {},
        )
    )


def two_answers_are_accepted(e: Evidence) -> None:
    ask(e, decision="allow")
    answer(e, decision="allow")
    answer(e, decision="deny", reason="no")


def accepted_answer_is_lost(e: Evidence) -> None:
    ask(e)
    answer(e, decision="deny", reason="no")


def question_is_answered_otherwise(e: Evidence) -> None:
    """Have the accepted answer in the ledger, beside another result."""
    given = {"answer": "the red one"}
    ask(e, decision="accept", content=given)
    e.tool_calls[TOOL_CHAT][0]["answer"]["result"] = "yes"
    answer(e, input="accept", content=given)


def question_has_two_answers(e: Evidence) -> None:
    ask(e, decision="accept", content={"answer": "the red one"})
    e.tool_calls[TOOL_CHAT][0]["tool_name"] = ASK_USER_TOOL
    e.tool_calls[TOOL_CHAT][0]["answer"]["result"] = {"answer": "the red one"}
    answer(e, input="accept", content={"answer": "the red one"})
    answer(e, input="decline")


def changed_arguments_are_lost(e: Evidence) -> None:
    ask(e, decision="allow")
    answer(e, decision="allow", args={"call": -1})


def refusal_names_another_decision(e: Evidence) -> None:
    ask(e, decision="allow")
    told = {"tool_call_id": CALLS[0], "decision": "deny"}
    response = {"code": "already_answered", "decisions": [told]}
    answer(e, 409, response, decision="deny")


def denied_call_runs(e: Evidence) -> None:
    ask(e, decision="deny", reason="no")


def call_runs_that_nobody_allowed(e: Evidence) -> None:
    ask(e)


def call_runs_after_its_deadline(e: Evidence) -> None:
    ask(e, decision="expired")


def call_runs_with_the_arguments_of_the_model(e: Evidence) -> None:
    ask(e, decision="allow", args={"call": -1, "how": "quick"})


def call_runs_with_other_arguments(e: Evidence) -> None:
    e.effects[0].call = 51


def tool_runs_that_the_chat_denies(e: Evidence) -> None:
    e.chats[TOOL_CHAT]["permissions"] = {"rules": [{"tools": "p*", "permission": "deny"}]}


def row_is_left_open(e: Evidence) -> None:
    closed: dict[str, Any] = {"completed_at": None, "answer": None, "is_error": None}
    e.tool_calls[TOOL_CHAT][0] |= {"state": "started", **closed}


def row_is_left_open_after_a_failure(e: Evidence) -> None:
    row_is_left_open(e)
    e.chats[TOOL_CHAT]["status"] = "error"


def result_is_that_of_another_call(e: Evidence) -> None:
    answer_otherwise(e, "effect 7-1.", is_error=False)


def result_lacks_a_part(e: Evidence) -> None:
    answer_otherwise(e, "effect 7-0", is_error=False)


def call_without_effect_has_a_result(e: Evidence) -> None:
    del e.effects[0]


def stored_result_is_replaced(e: Evidence) -> None:
    answer_otherwise(e, CANCELLED["other"], is_error=True)


def stored_result_differs_in_the_history(e: Evidence) -> None:
    row = e.tool_calls[TOOL_CHAT][0]
    row["answer"] = row["answer"] | {"result": "effect 7-1."}


def stored_call_is_not_there(e: Evidence) -> None:
    del e.tool_calls[TOOL_CHAT][0]


def outcome_is_unknown_for_no_reason(e: Evidence) -> None:
    answer_otherwise(e, OUTCOME_UNKNOWN, is_error=True)


CASES: dict[str, list[Callable[[Evidence], None]]] = {
    "tools_run_as_often_as_they_may": [
        tool_runs_twice,
        mcp_tool_runs_twice,
        tool_runs_twice_in_a_deleted_chat,
        idempotent_tool_runs_more_often_than_it_was_started,
        idempotent_tool_runs_four_times,
    ],
    "effects_belong_to_calls": [effect_has_no_call, effect_is_of_another_tool],
    "accepted_answers_stand": [
        two_answers_are_accepted,
        accepted_answer_is_lost,
        changed_arguments_are_lost,
        question_is_answered_otherwise,
        question_has_two_answers,
    ],
    "refused_answers_are_told_what_stands": [refusal_names_another_decision],
    "asked_calls_run_only_when_allowed": [
        denied_call_runs,
        call_runs_that_nobody_allowed,
        call_runs_after_its_deadline,
    ],
    "allowed_calls_have_the_arguments_given": [
        call_runs_with_the_arguments_of_the_model,
        call_runs_with_other_arguments,
    ],
    "denied_tools_have_no_effect": [tool_runs_that_the_chat_denies],
    "effects_are_of_chosen_tools": [tool_was_not_chosen, mcp_server_was_not_chosen],
    "ledgers_are_closed_at_rest": [row_is_left_open, row_is_left_open_after_a_failure],
    "results_are_what_the_tools_answered": [
        result_is_that_of_another_call,
        result_lacks_a_part,
        call_without_effect_has_a_result,
    ],
    "stored_results_are_kept": [
        stored_result_is_replaced,
        stored_result_differs_in_the_history,
        stored_call_is_not_there,
    ],
    "unknown_outcomes_have_a_lost_worker": [outcome_is_unknown_for_no_reason],
}
"""What each rule finds."""


def test_whole_evidence_has_no_violation() -> None:
    evidence = evidence_with_tools()
    evidence.pictures = []
    assert audit(evidence) == []


def test_every_rule_has_a_case() -> None:
    modules = {tools.__name__, approvals.__name__}
    assert {rule.__name__ for rule in RULES if rule.__module__ in modules} == set(CASES)


@pytest.mark.parametrize(
    ("rule", "breaks"),
    [(rule, breaks) for rule, all_breaks in CASES.items() for breaks in all_breaks],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_violation_is_found(rule: str, breaks: Callable[[Evidence], None]) -> None:
    evidence = evidence_with_tools()
    breaks(evidence)
    assert rule in found(evidence)


def test_repeats_of_an_idempotent_call_are_allowed() -> None:
    evidence = evidence_with_tools()
    evidence.tool_calls[TOOL_CHAT][1]["tries"] = 3
    evidence.effects += [effect(n, CALLS[1], "read", 3.2) for n in (2, 3)]
    assert found(evidence) == set()


def test_unknown_outcome_of_a_lost_worker_is_allowed() -> None:
    evidence = evidence_with_tools()
    row = evidence.tool_calls[TOOL_CHAT][0]
    answer_otherwise(evidence, OUTCOME_UNKNOWN, is_error=True)
    evidence.journal[TOOL_CHAT][3]["data"]["closed"][0]["is_error"] = True
    row["epoch"] = 0
    row["completed_at"] = START + timedelta(seconds=4)
    assert "unknown_outcomes_have_a_lost_worker" not in found(evidence)


def test_answer_that_stands_is_no_violation() -> None:
    evidence = evidence_with_tools()
    args = {"call": -1, "how": "quick"}
    ask(evidence, decision="allow", args=args)
    evidence.effects[0].call = -1
    answer(evidence, decision="allow", args=args)
    told = {"tool_call_id": CALLS[0], "decision": "allow"}
    answer(evidence, 409, {"code": "already_answered", "decisions": [told]}, decision="deny")
    assert found(evidence) == set()
