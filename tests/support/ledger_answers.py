"""Answers of people and of the client to calls of a generated plan."""

from collections.abc import Mapping
from typing import Any

from chatd.domain.answer import Answer, Approval, Decision, Input
from chatd.domain.tool_call import ToolResult


def answer_to(row: Any, *, allowed: bool, args: Mapping[str, Any] | None) -> Answer:
    """Return the answer to a row of the ledger that is asked. ``args`` replace those of an allowed call."""
    call_id, question = row["tool_call_id"], row["question"]
    match question["kind"]:
        case "result":
            return ToolResult(tool_call_id=call_id, result="of client", is_error=not allowed)
        case "input":
            number = question.get("number", 0)
            return Input(
                tool_call_id=call_id,
                decision=Decision.ACCEPT if allowed else Decision.DECLINE,
                content={"number": number} if allowed else None,
                question_number=number,
            )
        case _:
            return Approval(tool_call_id=call_id, allowed=allowed, args=args if allowed else None)
