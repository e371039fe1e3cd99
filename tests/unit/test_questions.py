"""Questions to a person: which one a line answers, and what is sent."""

from typing import Any

import pytest

from chatd.cli.chat.questions import Questions, action_notices
from chatd.client import ActionAnswered, Conflict, InvalidRequest, Snapshot, Transcript

UNTIL = "2026-12-01T14:03:00Z"


class RecordingClient:
    """Client that records what is answered, and may refuse it."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.refusal: Exception | None = None

    async def _record(self, *answer: Any) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.sent.append(answer)

    async def approve(self, _: str, call_id: str, *, remember: bool) -> None:
        await self._record("allow", call_id, remember)

    async def deny(
        self, _: str, call_id: str, *, reason: str | None = None, remember: bool = False
    ) -> None:
        await self._record("deny", call_id, reason, remember)

    async def answer_actions(self, _: str, answers: Any) -> None:
        await self._record(*answers)


class Asked:
    """A chat that asks these questions."""

    def __init__(self, *actions: Any) -> None:
        self.client = RecordingClient()
        self.transcript = Transcript()
        client: Any = self.client
        self.questions = Questions(client, self.transcript)
        required = {"calls": [*actions], "deadline": UNTIL}
        chat = {"id": "c", "status": "requires_action", "last_error": None, "queue_length": 0}
        data: Any = {"chat": chat, "messages": [], "queue": [], "parts": []}
        self.transcript.apply(Snapshot({**data, "action_required": required}))

    async def type(self, line: str) -> tuple[bool, str | None]:
        self.questions.lines()
        return await self.questions.answer("c", line)

    def answered(self, call_id: str, *still_open: str) -> None:
        data: Any = {
            "answered": [{"tool_call_id": call_id, "tool_name": "pay", "decision": "deny"}],
            "open": [*still_open],
            "deadline": UNTIL if still_open else None,
        }
        self.transcript.apply(ActionAnswered(data))


def approval(call_id: str, **more: Any) -> dict[str, Any]:
    base = {"tool_name": "pay", "args": "{}", "kind": "approval", "message": None, "schema": None}
    numbered = {"tool_call_id": call_id, "question_number": 0, "expires_at": UNTIL}
    return {**numbered, **base, **more}


@pytest.mark.parametrize(
    ("lines", "sent"),
    [
        (["y"], ("allow", "a", False)),
        (["Yes"], ("allow", "a", False)),
        (["always"], ("allow", "a", True)),
        (["n too much"], ("deny", "a", "too much", False)),
        (["no", "too much"], ("deny", "a", "too much", False)),
        (["n", ""], ("deny", "a", None, False)),
        (["never"], ("deny", "a", None, True)),
    ],
)
async def test_lines_answer_an_approval(lines: list[str], sent: tuple[Any, ...]) -> None:
    asked = Asked(approval("a"))
    for line in lines[:-1]:
        assert await asked.type(line) == (False, None)
    assert await asked.type(lines[-1]) == (True, None)
    assert asked.client.sent == [sent]
    assert asked.questions.current is None


async def test_other_text_answers_nothing() -> None:
    asked = Asked(approval("a"))
    for line in ("", "yesterday", "maybe", "nothing"):
        done, reply = await asked.type(line)
        assert not done
        assert reply is not None
    assert asked.client.sent == []


async def test_line_typed_for_one_question_does_not_answer_the_next() -> None:
    asked = Asked(approval("a"), approval("b"))
    assert any("1 more after this" in line for line in asked.questions.lines())
    asked.answered("a", "b")  # by another person, while this one types
    assert await asked.questions.answer("c", "y") == (
        False,
        "The question has changed. Answer this one.",
    )
    assert asked.client.sent == []
    assert await asked.type("y") == (True, None)
    assert asked.client.sent == [("allow", "b", False)]


async def test_questions_are_answered_before_the_events_of_the_answers_arrive() -> None:
    asked = Asked(approval("a"), approval("b"), approval("c"))
    for _ in range(3):
        assert await asked.type("y") == (True, None)
    assert [call_id for _, call_id, _ in asked.client.sent] == ["a", "b", "c"]
    assert asked.questions.current is None


async def test_input_is_answered_field_by_field_or_declined() -> None:
    schema = {"properties": {"a": {"type": "string"}, "n": {"type": "integer"}}, "required": ["a"]}
    question = approval("q", kind="input", message="Which?", schema=schema, question_number=2)
    asked = Asked(question)
    assert asked.questions.lines()[0] == "? Which?"
    assert await asked.type("blue") == (False, None)
    assert await asked.type("many") == (False, "Type a number.")
    assert await asked.type("2") == (True, None)
    content = {"a": "blue", "n": 2}
    assert asked.client.sent == [
        ({"tool_call_id": "q", "input": "accept", "question_number": 2, "content": content},)
    ]
    declined = Asked(question)
    assert await declined.questions.decline("c") == (True, None)
    assert declined.client.sent == [
        ({"tool_call_id": "q", "input": "decline", "question_number": 2},)
    ]


@pytest.mark.parametrize(
    ("refusal", "reply"),
    [
        (
            Conflict(
                409,
                code="already_answered",
                decisions=[{"tool_call_id": "a", "decision": "deny", "reason": "no money"}],
            ),
            "Another answer came first: not allowed: no money",
        ),
        (Conflict(409, code="no_action_required"), "The chat no longer waits for this."),
        (InvalidRequest(422, code="tool_call_unknown"), "The chat no longer waits for this."),
    ],
)
async def test_late_answer_says_what_stands(refusal: Exception, reply: str) -> None:
    asked = Asked(approval("a"))
    asked.client.refusal = refusal
    assert await asked.type("y") == (True, reply)
    assert asked.questions.current is None


async def test_refused_answer_can_be_given_again() -> None:
    asked = Asked(approval("a"))
    asked.client.refusal = InvalidRequest(422, code="invalid_request", detail="No.")
    assert await asked.type("y") == (False, "No. (422 invalid_request)")
    asked.client.refusal = None
    assert await asked.type("y") == (True, None)


def test_results_of_clients_are_no_answers_of_people() -> None:
    data: Any = {
        "answered": [
            {"tool_call_id": "a", "tool_name": "pay", "decision": "expired"},
            {"tool_call_id": "b", "tool_name": "weather", "decision": "result"},
        ],
        "open": [],
        "deadline": None,
    }
    assert [*action_notices(ActionAnswered(data))] == ["pay: nobody answered in time"]
