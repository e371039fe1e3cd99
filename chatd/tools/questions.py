"""The built-in tool by which a model asks its user a question."""

from collections.abc import Mapping
from typing import Any, Final

from chatd.domain.permission import Permission
from chatd.domain.question import Question, QuestionKind
from chatd.domain.tool_call import CallPolicy
from chatd.domain.tool_choice import ASK_USER_TOOL
from chatd.tools.tool import Tool, ToolOutcome, ToolRequest

MAX_QUESTION_LENGTH: Final = 4000
"""Characters of a question. A person reads it before the answer."""
MAX_OPTIONS, MAX_OPTION_LENGTH = 20, 400

_PARAMETERS: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {
        "question": {"type": "string", "minLength": 1, "maxLength": MAX_QUESTION_LENGTH},
        "options": {
            "type": "array",
            "description": "Answers to choose from. Without any, the user answers in their own words.",
            "items": {"type": "string", "minLength": 1, "maxLength": MAX_OPTION_LENGTH},
            "minItems": 1,
            "maxItems": MAX_OPTIONS,
        },
        "multiple": {"type": "boolean", "description": "The user may choose several options."},
    },
    "required": ["question"],
    "additionalProperties": False,
}


def ask_user_tool() -> Tool:
    """Return the tool. It is never run: a person's answer is the result of its call."""
    return Tool(
        name=ASK_USER_TOOL,
        description="Ask the user a question, and wait for the answer.",
        parameters=_PARAMETERS,
        policy=CallPolicy.IDEMPOTENT,
        timeout_seconds=1.0,
        run=_unanswered,
        question=_question,
        permission=Permission.ALLOW,
        read_only=True,
    )


def _question(args: Mapping[str, Any]) -> Question:
    answer: dict[str, Any] = {"type": "string"}
    if options := args.get("options"):
        answer["enum"] = options
    if options and args.get("multiple"):
        answer = {"type": "array", "items": answer, "uniqueItems": True}
    schema = {"type": "object", "properties": {"answer": answer}, "required": ["answer"]}
    return Question(kind=QuestionKind.INPUT, message=args["question"], schema=schema)


async def _unanswered(_: ToolRequest) -> ToolOutcome:
    return ToolOutcome(text="The user was not asked.", is_error=True)
