"""The rule of results that are read on finds what differs from what the tool put out."""

import json
from typing import Any

import pytest

from chaos.audit import tool_results
from chaos.evidence import Evidence
from chaos.offered_tools import LARGE_BYTES
from chaos.whole_tool_evidence import CALLS, TOOL_CHAT, evidence_with_tools
from chatd.domain.tool_choice import READ_RESULT_TOOL

TOTAL = len("effect 7-0.") + LARGE_BYTES


def read(e: Evidence, result: str, *, is_error: bool = False, **args: Any) -> None:
    """Have the first call answered by a large text, and another one read on in it."""
    e.effects[0].how = "large"
    row, message = e.tool_calls[TOOL_CHAT][0], e.messages[TOOL_CHAT][1]
    call = {"type": "tool-call", "tool_call_id": "call_53_0", "tool_name": READ_RESULT_TOOL}
    message["content"].append(call | {"args": json.dumps({"tool_call_id": CALLS[0], **args})})
    answer = row["answer"] | {"tool_call_id": "call_53_0", "result": result, "is_error": is_error}
    name = {"tool_call_id": "call_53_0", "tool_name": READ_RESULT_TOOL}
    e.tool_calls[TOOL_CHAT].append(row | name | {"answer": answer, "is_error": is_error})


def found(evidence: Evidence) -> list[dict[str, Any]]:
    return list(tool_results.read_results_are_what_the_tools_put_out(evidence))


@pytest.mark.parametrize(
    ("result", "args"),
    [
        (f"Bytes 0 to 12 of {TOTAL}:\neffect 7-0.x", {"limit": 12}),
        (f"Bytes 7 to 13 of {TOTAL}:\n7-0.xx", {"offset": 7, "limit": 6}),
    ],
)
def test_part_of_the_output_is_no_violation(result: str, args: dict[str, Any]) -> None:
    evidence = evidence_with_tools()
    read(evidence, result, **args)
    assert found(evidence) == []


def test_result_that_is_not_kept_is_no_violation() -> None:
    evidence = evidence_with_tools()
    read(evidence, "Nothing more is kept of the result of this call.", is_error=True)
    assert found(evidence) == []


@pytest.mark.parametrize(
    ("result", "args"),
    [
        (f"Bytes 7 to 13 of {TOTAL}:\n7-1.xx", {"offset": 7}),
        (f"Bytes 7 to 13 of {TOTAL}:\n7-0.x", {"offset": 7}),
        (f"Bytes 7 to 13 of {TOTAL}:\n7-0.xx", {"offset": 8}),
        (f"Bytes 7 to 7 of {TOTAL}:\n", {"offset": 7}),
        (f"Bytes 7 to 13 of {TOTAL - 1}:\n7-0.xx", {"offset": 7}),
        ("7-0.xx", {"offset": 7}),
        (f"Bytes 7 to 13 of {TOTAL}:\n7-0.xx", {"offset": 7, "tool_call_id": CALLS[1]}),
    ],
    ids=["other words", "short", "other place", "nothing", "other size", "no head", "other call"],
)
def test_part_that_differs_is_a_violation(result: str, args: dict[str, Any]) -> None:
    evidence = evidence_with_tools()
    read(evidence, result, **args)
    assert found(evidence)
