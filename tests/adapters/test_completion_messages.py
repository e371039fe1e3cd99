"""A client's list of messages as messages of a chat."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given as for_any
from hypothesis import strategies as st
from pydantic import ValidationError

from chatd.adapters.completions.comparison import fingerprint
from chatd.adapters.completions.messages import Conversation, read_conversation
from chatd.adapters.completions.request import CompletionRequest, find_unsupported
from chatd.adapters.completions.tools import read_tools
from chatd.api.errors.problems import HttpProblem
from chatd.domain.given_history import find_history_fault
from chatd.domain.message import Role, text_of

Given = Mapping[str, Any]
ASKED = {"role": "user", "content": "hi"}
ANSWERED = {"role": "assistant", "content": "hello"}


def call(*ids: str, text: str | None = None) -> Given:
    calls = [
        {"id": each, "type": "function", "function": {"name": f"tool-{each}", "arguments": "{}"}}
        for each in ids
    ]
    return {"role": "assistant", "content": text, "tool_calls": calls}


def result(call_id: str, text: str = "21") -> Given:
    return {"role": "tool", "tool_call_id": call_id, "content": text}


def read(*messages: Given) -> Conversation:
    request = CompletionRequest.model_validate({"model": "one", "messages": messages})
    return read_conversation(request.messages)


def outline(conversation: Conversation) -> list[tuple[str, str]]:
    """Return the roles of the history, each with its text and the ids of its calls."""
    return [
        (
            message.role.value,
            text_of(message.content)
            + "".join(part.get("tool_call_id", "") for part in message.content),
        )
        for message in conversation.history
    ]


def test_leading_prompts_are_joined_and_the_last_message_asks() -> None:
    conversation = read(
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
        ASKED,
        ANSWERED,
        {"role": "system", "content": "It is noon."},
        {"role": "user", "content": [{"type": "text", "text": "and now?"}]},
    )
    assert conversation.system_prompt == "Be brief.\n\nBe kind."
    assert outline(conversation) == [
        ("user", "hi"),
        ("assistant", "hello"),
        ("system", "It is noon."),
    ]
    assert conversation.content is not None
    assert text_of(conversation.content.parts) == "and now?"
    assert conversation.results == ()
    assert conversation.answered_steps == 0


def test_results_at_the_end_are_answered() -> None:
    conversation = read(ASKED, call("a"), result("a"), call("b", "c"), result("c"), result("b"))
    assert outline(conversation) == [
        ("user", "hi"),
        ("assistant", "a"),
        ("tool", "a"),
        ("assistant", "bc"),
    ]
    assert [each.tool_call_id for each in conversation.results] == ["c", "b"]
    assert conversation.content is None
    assert conversation.answered_steps == 2
    assert find_history_fault(conversation.messages()) is None
    assert [part["tool_name"] for part in conversation.messages()[-1].content] == [
        "tool-c",
        "tool-b",
    ]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ([ASKED, call("a", text="wait"), ASKED], [("user", "hi"), ("assistant", "wait")]),
        ([ASKED, call("a"), ASKED], [("user", "hi")]),
        ([ASKED, result("a"), ASKED], [("user", "hi")]),
        (
            [ASKED, call("a", "b"), result("b"), result("b"), result("x"), ASKED],
            [("user", "hi"), ("assistant", "b"), ("tool", "b")],
        ),
        ([ASKED, {"role": "assistant", "content": ""}, ASKED], [("user", "hi")]),
        ([{"role": "user", "content": ""}, ANSWERED, ASKED], [("assistant", "hello")]),
        ([call("a", "a"), result("a"), ASKED], [("assistant", "a"), ("tool", "a")]),
    ],
)
def test_half_of_a_call_is_left_out(given: list[Given], kept: list[tuple[str, str]]) -> None:
    conversation = read(*given)
    assert outline(conversation) == kept
    assert find_history_fault(conversation.messages()) is None


def test_an_empty_answer_at_the_end_is_that_of_a_failed_turn() -> None:
    conversation = read(ASKED, {"role": "assistant", "content": None})
    assert conversation.history == []
    assert conversation.content is not None


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ([ASKED, ANSWERED], "body.messages.1.role"),
        ([{"role": "system", "content": "x"}], "body.messages.0.role"),
        ([{"role": "assistant", "content": ""}], "body.messages.0.role"),
        ([{"role": "user", "content": " \n"}], "body.messages.0.content"),
        ([ASKED, result("a")], "body.messages.1.tool_call_id"),
        ([ASKED, call("a", "b"), result("a")], "body.messages.2"),
        (
            [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}],
            "body.messages.0.content.0.type",
        ),
        (
            [
                {
                    "role": "user",
                    "content": [{"type": "image_url", "image_url": {"url": "http://e.example"}}],
                }
            ],
            "body.messages.0.content.0.image_url.url",
        ),
    ],
)
def test_a_list_that_cannot_be_answered_is_refused(given: list[Given], where: str) -> None:
    with pytest.raises(HttpProblem) as refused:
        read(*given)
    assert refused.value.errors[0].where == where


def test_files_stand_in_the_content_and_beside_it() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/gif;base64,R0lGODlhOw=="}}
    pdf = {"type": "file", "file": {"file_data": "data:application/pdf,x", "filename": "a.pdf"}}
    asked = {"role": "user", "content": [{"type": "text", "text": "see"}, image, pdf]}
    conversation = read(asked, ANSWERED, asked)
    assert conversation.content is not None
    assert [part["type"] for part in conversation.content.parts] == ["text", "file", "file"]
    assert [file.name for file in conversation.content.files] == [None, "a.pdf"]
    assert conversation.history[0].role is Role.USER
    assert len(conversation.history[0].files) == 2


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("n", 2, "n"),
        ("n", 1, None),
        ("response_format", {"type": "json_object"}, "response_format"),
        ("response_format", {"type": "text"}, None),
        ("modalities", ["text", "audio"], "modalities"),
        ("modalities", ["text"], None),
        ("tool_choice", "required", "tool_choice"),
        ("tool_choice", {"type": "function", "function": {"name": "a"}}, "tool_choice"),
        ("tool_choice", "none", None),
        ("logprobs", True, "logprobs"),
        ("logprobs", False, None),
        ("audio", {"voice": "a"}, "audio"),
        ("functions", [{}], "functions"),
        ("tools", [{"type": "custom"}], "tools.0.type"),
        ("temperature", 0.5, None),
    ],
)
def test_what_there_is_not_here_is_named(field: str, value: Any, named: str | None) -> None:
    request = CompletionRequest.model_validate({"messages": [ASKED], field: value})
    assert find_unsupported(request) == named


def test_fields_that_change_nothing_are_named_and_others_are_not_read() -> None:
    body = {"messages": [ASKED], "temperature": 0, "seed": None, "ignored": "x", "novelty": [1]}
    assert CompletionRequest.model_validate(body).ignored == ("temperature",)


IDS = st.sampled_from(["a", "b", ""])
TEXTS = st.none() | st.text(max_size=8) | st.just("\ud800\0")
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
PARTS = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "image_url", "file", "refusal", "input_audio"])},
    optional={
        "text": TEXTS,
        "refusal": TEXTS,
        "image_url": st.fixed_dictionaries({"url": st.sampled_from(["data:,a", "data:;base64,x"])}),
        "file": st.fixed_dictionaries({"file_data": TEXTS, "filename": TEXTS}),
    },
)
CALLS = st.fixed_dictionaries(
    {"id": IDS, "type": st.just("function")},
    optional={"function": st.fixed_dictionaries({"name": IDS, "arguments": st.text(max_size=3)})},
)
MESSAGES = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant", "tool", "developer"])},
    optional={
        "content": TEXTS | st.lists(PARTS, max_size=3) | ANYTHING,
        "tool_calls": st.lists(CALLS, max_size=3) | ANYTHING,
        "tool_call_id": IDS,
    },
)
TOOLS = st.lists(
    st.fixed_dictionaries(
        {"type": st.just("function"), "function": ANYTHING | st.fixed_dictionaries({"name": IDS})}
    ),
    max_size=2,
)


@for_any(messages=st.lists(MESSAGES, max_size=6), tools=TOOLS | ANYTHING, more=ANYTHING)
def test_any_list_is_refused_or_may_be_stored(messages: Any, tools: Any, more: Any) -> None:
    body = {"messages": messages, "tools": tools, "tool_choice": more, "response_format": more}
    try:
        request = CompletionRequest.model_validate(body)
        find_unsupported(request)
        read_tools(request, [])
        conversation = read_conversation(request.messages)
    except (ValidationError, HttpProblem):
        return
    history = conversation.history if conversation.content else conversation.messages()
    assert find_history_fault(history) is None
    assert fingerprint(conversation) == fingerprint(conversation)
    json.dumps([message.content for message in conversation.messages()]).encode()
