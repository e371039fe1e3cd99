"""Questions about tool calls that a chat waits for.

A chat in ``requires_action`` has calls that are asked. Each has a question: whether it may run, what its
result is, or what a person says.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from chatd.domain.sanitize import replace_unstorable_json
from chatd.domain.stored_word import StoredWord


class QuestionKind(StoredWord):
    """Kind of a question.

    * `approval`: may the server run this call?
    * `result`: the client runs this tool. What is its result?
    * `input`: a tool asks a person something.
    """

    APPROVAL = "approval"
    RESULT = "result"
    INPUT = "input"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question about a call. ``schema`` describes the content of the answer to an input.

    A call may be asked several times, one after the other. ``number`` counts its questions from 0.
    """

    kind: QuestionKind
    message: str | None = None
    schema: Mapping[str, Any] | None = None
    number: int = 0

    @classmethod
    def read(cls, stored: Mapping[str, Any] | None) -> "Question | None":
        """Return the value of ``chat_tool_calls.question``."""
        if stored is None:
            return None
        return cls(
            kind=QuestionKind.read(stored["kind"]),
            message=stored.get("message"),
            schema=stored.get("schema"),
            number=stored.get("number", 0),
        )

    def to_json(self) -> Mapping[str, Any]:
        """Return the question as it is stored."""
        fields = {
            "kind": self.kind.value,
            "message": self.message,
            "schema": self.schema,
            "number": self.number or None,
        }
        stored: Mapping[str, Any] = replace_unstorable_json(
            {key: value for key, value in fields.items() if value is not None}
        )
        return stored


MAX_QUESTIONS: Final = 10
"""Questions about one call. A tool that asks again and again would hold its chat for ever. A CHECK of the
ledger holds it, too."""

CLIENT_RUNS: Final = Question(kind=QuestionKind.RESULT)
"""The question about a call of a tool that the client runs."""
MAY_RUN: Final = Question(kind=QuestionKind.APPROVAL)


def action(
    call: Mapping[str, Any],
    question: Mapping[str, Any],
    expires_at: datetime | None,
) -> dict[str, Any]:
    """Return the fields of a call that is asked, as clients see them. ``call`` is its part of a message."""
    return {
        "tool_call_id": call["tool_call_id"],
        "tool_name": call.get("tool_name"),
        "args": call.get("args"),
        "kind": question["kind"],
        "message": question.get("message"),
        "schema": question.get("schema"),
        "question_number": question.get("number", 0),
        "expires_at": expires_at,
    }
