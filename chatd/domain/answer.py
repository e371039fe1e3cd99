"""Answers to questions about tool calls, in the shape in which they are stored."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from chatd.domain.question import QuestionKind
from chatd.domain.sanitize import replace_unstorable, replace_unstorable_json
from chatd.domain.tool_call import ToolResult
from chatd.domain.tool_call_errors import dismissed, refused


class Decision(StrEnum):
    """Answer to a question, in a word.

    * `allow`, `deny`: an approval.
    * `result`: the client's result.
    * `accept`, `decline`, `cancel`: an input.
    * `expired`: nobody answered in time.
    """

    ALLOW = "allow"
    DENY = "deny"
    RESULT = "result"
    ACCEPT = "accept"
    DECLINE = "decline"
    CANCEL = "cancel"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """The answer whether a call may run. ``args`` replace those of the model."""

    tool_call_id: str
    allowed: bool
    reason: str | None = None
    args: Mapping[str, Any] | None = None
    remember: bool = False
    """The same answer holds for later calls of this tool in the chat."""

    def to_json(self) -> Mapping[str, Any]:
        """Return the answer in the shape that the statement ``answer_action`` reads."""
        given = {"reason": self.reason, "args": self.args, "remember": self.remember or None}
        answer = _answer(
            self.tool_call_id,
            QuestionKind.APPROVAL,
            Decision.ALLOW if self.allowed else Decision.DENY,
            **given,
        )
        if self.allowed:
            return {**answer, "state": "ready"}
        return {**answer, **_closed(refused(self.reason), is_error=True)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """The answer of a person to an input: ``content`` with ``accept``, or nothing.

    It is the result of the call, unless the tool waits for it: then the call goes on with it.
    """

    tool_call_id: str
    decision: Decision
    content: Any = None
    question_number: int = 0

    def to_json(self) -> Mapping[str, Any]:
        """Return the answer in the shape that the statement ``answer_action`` reads."""
        answer = {
            **_answer(self.tool_call_id, QuestionKind.INPUT, self.decision, content=self.content),
            "number": self.question_number,
        }
        if self.decision is Decision.ACCEPT:
            return {**answer, **_closed(self.content, is_error=False)}
        return {
            **answer,
            **_closed(dismissed(declined=self.decision is Decision.DECLINE), is_error=True),
        }


Answer = Approval | Input | ToolResult
"""An answer to a question of one of the three kinds."""


def stored_answer(answer: Answer) -> Mapping[str, Any]:
    """Return an answer in the shape that the statement ``answer_action`` reads."""
    if not isinstance(answer, ToolResult):
        return answer.to_json()
    given = _answer(answer.tool_call_id, QuestionKind.RESULT, Decision.RESULT)
    return {**given, **_closed(answer.result, is_error=answer.is_error)}


def _answer(
    tool_call_id: str, kind: QuestionKind, decision: Decision, **given: Any
) -> Mapping[str, Any]:
    said = {key: value for key, value in given.items() if value is not None}
    return {
        "tool_call_id": replace_unstorable(tool_call_id),
        "kind": kind.value,
        "decision": replace_unstorable_json({"decision": decision.value, **said}),
    }


def _closed(result: Any, *, is_error: bool) -> Mapping[str, Any]:
    return {"state": "closed", "result": replace_unstorable_json(result), "is_error": is_error}
