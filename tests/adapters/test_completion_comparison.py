"""A client's list against the stored history."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from chatd.adapters.completions.comparison import Match, answered_steps, compare
from chatd.adapters.completions.messages import Conversation, read_conversation
from chatd.adapters.completions.request import CompletionRequest
from chatd.domain.message import Message, Part, Role

Given = Mapping[str, Any]


def user(text: str) -> Given:
    return {"role": "user", "content": text}


def assistant(text: str | None, *calls: str) -> Given:
    made = [{"id": each, "type": "function", "function": {"name": "sky"}} for each in calls]
    return {"role": "assistant", "content": text, "tool_calls": made or None}


def result(call_id: str) -> Given:
    return {"role": "tool", "tool_call_id": call_id, "content": "blue"}


def conversation(*messages: Given) -> Conversation:
    return read_conversation(CompletionRequest.model_validate({"messages": messages}).messages)


def text(text: str) -> Part:
    return {"type": "text", "text": text}


def call(call_id: str) -> Part:
    return {"type": "tool-call", "tool_call_id": call_id, "tool_name": "sky", "args": "{}"}


def call_result(call_id: str) -> Part:
    return {
        "type": "tool-result",
        "tool_call_id": call_id,
        "tool_name": "sky",
        "result": "blue",
        "is_error": False,
    }


def stored(*messages: tuple[Role, list[Part]], cut: bool = False) -> list[Message]:
    """Return stored messages, the last one of an answer that was stopped if ``cut``."""
    chat_id = uuid4()
    return [
        Message(
            id=number,
            chat_id=chat_id,
            version=number,
            role=role,
            content=tuple(parts),
            model_config_id=None,
            usage=None,
            finish_reason="interrupted" if cut and number == len(messages) else None,
            created_at=datetime.now(UTC),
        )
        for number, (role, parts) in enumerate(messages, 1)
    ]


ASKED = (Role.USER, [text("hi")])
ANSWERED = (Role.ASSISTANT, [{"type": "reasoning", "text": "hm"}, text("hello ")])
LOOKED_UP = [
    (Role.ASSISTANT, [text("Let me see. "), call("server-1")]),
    (Role.TOOL, [call_result("server-1")]),
    (Role.ASSISTANT, [text("Blue.")]),
]
CALLED = (Role.ASSISTANT, [call("a")])


@pytest.mark.parametrize(
    ("given", "there", "expected"),
    [
        ([user("hi"), assistant("hello"), user("more")], [ASKED, ANSWERED], Match.NEXT),
        ([user("hi"), assistant("hello"), user("more")], [ASKED], Match.OTHER),
        ([user("hi"), assistant("bye"), user("more")], [ASKED, ANSWERED], Match.OTHER),
        ([user("hi")], [ASKED, ANSWERED], Match.REPEATED),
        ([user("hi")], [ASKED], Match.REPEATED),
        ([user("ho")], [ASKED, ANSWERED], Match.OTHER),
        ([user("hi")], [ASKED, ANSWERED, ASKED], Match.OTHER),
        ([user("hi"), user("hi")], [ASKED], Match.NEXT),
        ([user("more")], [ASKED, ANSWERED], Match.OTHER),
        (
            [user("hi"), assistant("Let me see. Blue."), user("more")],
            [ASKED, *LOOKED_UP],
            Match.NEXT,
        ),
        ([user("hi")], [ASKED, *LOOKED_UP], Match.REPEATED),
        ([user("hi"), assistant(None, "a"), result("a")], [ASKED, CALLED], Match.NEXT),
        ([user("hi"), assistant(None, "b"), result("b")], [ASKED, CALLED], Match.OTHER),
        (
            [user("hi"), assistant(None, "a"), result("a")],
            [ASKED, CALLED, (Role.TOOL, [call_result("a")]), ANSWERED],
            Match.REPEATED,
        ),
        (
            [{"role": "system", "content": "be brief"}, user("hi"), assistant("hello"), user("x")],
            [(Role.SYSTEM, [text("be brief")]), ASKED, ANSWERED],
            Match.NEXT,
        ),
        (
            [{"role": "system", "content": "be long"}, user("hi"), assistant("hello"), user("x")],
            [(Role.SYSTEM, [text("be brief")]), ASKED, ANSWERED],
            Match.OTHER,
        ),
    ],
)
def test_a_list_continues_repeats_or_differs(
    given: list[Given], there: list[tuple[Role, list[Part]]], expected: Match
) -> None:
    assert compare(conversation(*given), stored(*there)) is expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([user("hi"), assistant("hel"), user("more")], Match.NEXT),
        ([user("hi"), assistant("hello"), user("more")], Match.NEXT),
        ([user("hi"), user("more")], Match.NEXT),
        ([user("hi"), assistant("hullo"), user("more")], Match.OTHER),
        ([user("hi")], Match.REPEATED),
    ],
)
def test_less_may_be_shown_of_an_answer_that_was_stopped(
    given: list[Given], expected: Match
) -> None:
    assert compare(conversation(*given), stored(ASKED, ANSWERED, cut=True)) is expected


def test_steps_before_the_results_are_with_the_client() -> None:
    given = conversation(user("hi"), assistant(None, "a"), result("a"))
    history = stored(ASKED, *LOOKED_UP, CALLED)
    assert answered_steps(given, history) == 3
    assert answered_steps(given, [*history, *stored((Role.TOOL, [call_result("a")]))]) == 3
    assert answered_steps(conversation(user("hi")), history) == 0
