"""Calls that a chat in ``requires_action`` waits for, and the answers."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    model_validator,
)

from chatd.api.schema.tools import ToolResultInput
from chatd.api.schema.types import (
    JSON_BOUNDS,
    MAX_ITEMS,
    MAX_JSON_VALUES,
    FewItems,
    JsonValue,
    RequestModel,
    Sanitized,
    ToolCallId,
)
from chatd.domain.answer import Approval, Decision, Input
from chatd.domain.question import MAX_QUESTIONS, QuestionKind

MAX_REASON_LENGTH = 4000
"""A reason that a person gives. The model reads it."""


ArgumentName = Annotated[str, StringConstraints(max_length=1000), Sanitized]


class Action(BaseModel):
    """A tool call that a chat waits for: a question to a person, or a tool that the client runs."""

    tool_call_id: str = Field(examples=["call_1"])
    tool_name: str = Field(examples=["weather"])
    args: str = Field(description="JSON as the model wrote it.", examples=['{"city": "Bern"}'])
    kind: QuestionKind = Field(
        description="`approval`: may the server run it? `result`: the client runs it. `input`: a tool asks "
        "a person something.",
        examples=["result"],
    )
    message: str | None = Field(description="The question, for a person.", examples=[None])
    answer_schema: dict[str, Any] | None = Field(
        alias="schema",
        description="JSON schema of the `content` that answers an `input`.",
        examples=[None],
    )
    question_number: int = Field(
        description="0 for the first question about this call. A tool may ask again.", examples=[0]
    )
    expires_at: datetime = Field(examples=["2026-03-01T09:35:00.120000Z"])


def _never(**properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a schema that says which values do not go together."""
    return {"not": {"properties": properties, "required": list(properties)}}


class ToolApproval(RequestModel):
    """The answer to an `approval`: whether the call may run."""

    model_config = ConfigDict(
        json_schema_extra=_never(decision={"const": "deny"}, args={"type": "object"})
    )

    tool_call_id: ToolCallId = Field(examples=["call_1"])
    decision: Literal["allow", "deny"] = Field(examples=["allow"])
    reason: Annotated[str, StringConstraints(max_length=MAX_REASON_LENGTH), Sanitized] | None = (
        Field(default=None, description="For the model, if the call is denied.", examples=[None])
    )
    args: dict[ArgumentName, JsonValue] | None = Field(
        default=None,
        description="Arguments to run it with, instead of the model's.",
        max_length=MAX_JSON_VALUES,
        json_schema_extra={**JSON_BOUNDS},
        examples=[None],
    )
    remember: Literal["chat"] | None = Field(
        default=None,
        description="`chat`: later calls of this tool in this chat are answered in the same way, unasked.",
        examples=[None],
    )

    @model_validator(mode="after")
    def _check_args(self) -> Self:
        if self.decision == "deny" and self.args is not None:
            raise ValueError("args are for a call that is allowed")
        return self

    def to_domain(self) -> Approval:
        return Approval(
            tool_call_id=self.tool_call_id,
            allowed=self.decision == "allow",
            reason=self.reason or None,
            args=self.args,
            remember=self.remember is not None,
        )


class ToolInput(RequestModel):
    """The answer of a person to an `input`."""

    model_config = ConfigDict(
        json_schema_extra=_never(
            input={"enum": ["decline", "cancel"]}, content={"not": {"type": "null"}}
        )
    )

    tool_call_id: ToolCallId = Field(examples=["call_1"])
    input: Literal["accept", "decline", "cancel"] = Field(
        description="`accept`: see `content`; `decline`: no answer; `cancel`: closed without a decision.",
        examples=["accept"],
    )
    content: JsonValue = Field(
        default=None,
        description="The answer, as the `schema` of the question has it. Only with `accept`.",
        examples=[{"answer": "the blue one"}],
    )
    question_number: int = Field(
        default=0,
        ge=0,
        le=MAX_QUESTIONS - 1,
        description="The `question_number` of the action: which question about the call is answered.",
        examples=[0],
    )

    @model_validator(mode="after")
    def _check_content(self) -> Self:
        if self.input != "accept" and self.content is not None:
            raise ValueError("content is for an input that is accepted")
        return self

    def to_domain(self) -> Input:
        return Input(
            tool_call_id=self.tool_call_id,
            decision=Decision(self.input),
            content=self.content,
            question_number=self.question_number,
        )


def _kind_of_answer(answer: Any) -> str:
    """Return which answer is meant, so that a mistake names this one only."""
    fields = answer if isinstance(answer, Mapping) else vars(answer)
    if "decision" in fields:
        return "approval"
    return "input" if "input" in fields else "result"


ToolAnswer = Annotated[
    Annotated[ToolApproval, Tag("approval")]
    | Annotated[ToolResultInput, Tag("result")]
    | Annotated[ToolInput, Tag("input")],
    Discriminator(_kind_of_answer),
]


class AnswerActions(RequestModel):
    """Answers to some or all of the calls that a chat waits for, each once."""

    answers: Annotated[list[ToolAnswer], FewItems] = Field(
        min_length=1,
        max_length=MAX_ITEMS,
        examples=[[{"tool_call_id": "call_1", "decision": "allow"}]],
    )
