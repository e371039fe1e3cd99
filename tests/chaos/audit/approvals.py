"""Rules of what people and clients are asked: an answer stands, and what is not allowed does not run."""

import json
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

from chaos.answers import decision_of
from chaos.audit.rules import Findings, described, excerpt, rule
from chaos.audit.tools import call_described, effects_of_calls
from chaos.evidence import Evidence, Row


def _rows_by_id(evidence: Evidence) -> dict[tuple[str, str], Row]:
    return {
        (chat_id, row["tool_call_id"]): row
        for chat_id, rows in evidence.tool_calls.items()
        for row in rows
    }


def _answers(evidence: Evidence) -> Iterator[tuple[Any, dict[str, Any], Row | None]]:
    """Yield each answer of a request that was accepted, with the request and the call it is about."""
    rows = _rows_by_id(evidence)
    for request in evidence.requests:
        if request.operation == "answer" and request.accepted and request.chat_id in evidence.chats:
            for answer in request.body["answers"]:
                yield request, answer, rows.get((request.chat_id, answer["tool_call_id"]))


@rule
def accepted_answers_stand(evidence: Evidence) -> Findings:
    """Find answers that were accepted and are not what the ledger has, so that another one counts."""
    for request, answer, row in _answers(evidence):
        stands = row is not None and row["decision"] == decision_of(answer)
        given = answer.get("result") or answer.get("content")
        if row is not None and given is not None:
            stands = stands and (row["answer"] or {}).get("result") == given
        if not stands:
            yield described(request) | {
                "answer": answer,
                "call": None if row is None else call_described(row, decision=row["decision"]),
                "journal": excerpt(evidence, request.chat_id or ""),
            }


@rule
def refused_answers_are_told_what_stands(evidence: Evidence) -> Findings:
    """Find answers that were refused as too late and told of another decision than the ledger has."""
    rows = _rows_by_id(evidence)
    for request in evidence.requests:
        if request.code != "already_answered" or request.chat_id not in evidence.chats:
            continue
        for told in request.response["decisions"]:
            row = rows.get((request.chat_id, told["tool_call_id"]))
            stands = None if row is None else (row["decision"] or {}).get("decision")
            if stands is None or told["decision"] != stands:
                yield described(request) | {"told": told, "stands": stands}


@rule
def asked_calls_run_only_when_allowed(evidence: Evidence) -> Findings:
    """Find effects of calls that a person was asked about and did not allow."""
    for row, effect in effects_of_calls(evidence):
        question, decision = row["question"] or {}, row["decision"] or {}
        if question.get("kind") == "approval" and decision.get("decision") != "allow":
            yield call_described(row, effect=effect, decision=decision)


@rule
def allowed_calls_have_the_arguments_given(evidence: Evidence) -> Findings:
    """Find effects with other arguments than those of the model, or of the person who changed them."""
    args: dict[tuple[str, str], Any] = {
        (chat_id, part["tool_call_id"]): part["args"]
        for chat_id, messages in evidence.messages.items()
        for message in messages
        for part in message["content"]
        if part["type"] == "tool-call"
    }
    for row, effect in effects_of_calls(evidence):
        written = args.get((row["chat_id"], row["tool_call_id"]))
        given = (row["decision"] or {}).get("args") or json.loads(written or "{}")
        if (given.get("call"), given.get("how")) != (effect.call, effect.how):
            yield call_described(row, effect=effect, given=given)


@rule
def denied_tools_have_no_effect(evidence: Evidence) -> Findings:
    """Find effects of tools that a rule of their chat denies."""
    for row, effect in effects_of_calls(evidence):
        permissions = evidence.chats[row["chat_id"]]["permissions"] or {}
        for each in permissions.get("rules", ()):
            if each["permission"] == "deny" and fnmatchcase(effect.tool, each["tools"]):
                yield call_described(row, effect=effect, rule=each)
