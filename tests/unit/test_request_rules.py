"""The rules of the providers: each rejects what its source says, and accepts the documented examples."""

import base64
from collections.abc import Mapping
from typing import Any

import pytest
from support.request_rules import Rule, violations
from support.request_rules.chat_completions import CHAT_COMPLETIONS, MISTRAL, STRICT_TEMPLATE
from support.request_rules.messages import MESSAGES
from support.request_rules.responses import RESPONSES

Body = dict[str, Any]

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
SCHEMA = {
    "type": "object",
    "properties": {"location": {"type": "string"}},
    "required": ["location"],
}


def user(content: Any) -> Body:
    return {"role": "user", "content": content}


def assistant(content: Any, **more: Any) -> Body:
    return {"role": "assistant", "content": content, **more}


# Chat Completions


def call(id_: str = "D681PevKs", name: str = "get_weather", arguments: str = "{}") -> Body:
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}


def calls(*given: Body) -> Body:
    return assistant(None, tool_calls=list(given or (call(),)))


def result(id_: str = "D681PevKs", content: str = "15") -> Body:
    return {"role": "tool", "tool_call_id": id_, "content": content}


def chat(*messages: Body, **more: Any) -> Body:
    return {"model": "m", "messages": list(messages), **more}


def function(name: str, parameters: Any) -> Body:
    return {"tools": [{"type": "function", "function": {"name": name, "parameters": parameters}}]}


CHAT_EXAMPLES = (
    chat({"role": "system", "content": "You are a helpful assistant."}, user("Hello!")),
    chat(user("Weather in Paris?"), calls(), result(), **function("get_weather", SCHEMA)),
    chat(
        user("a"),
        calls(call("callaaaa1"), call("callaaaa2")),
        result("callaaaa2"),
        result("callaaaa1"),
    ),
    chat(user("a"), assistant("b"), user("c")),
    chat(
        user(
            [
                {"type": "text", "text": "What is in this image?"},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
            ]
        )
    ),
)
CHAT_REFUSED: Mapping[str, Body] = {
    "messages_have_a_known_role": chat({"role": "narrator", "content": "x"}),
    "no_text_is_blank": chat(user(" \n")),
    "no_content_is_empty": chat(user("a"), assistant(None), user("b")),
    "every_call_is_answered_once_right_after": chat(user("a"), calls(), user("b")),
    "call_ids_have_at_most_40_characters": chat(user("a"), calls(call("x" * 41)), result("x" * 41)),
    "call_ids_are_unique": chat(user("a"), calls(), result(), calls(), result()),
    "called_names_fit": chat(user("a"), calls(call(name="a.b")), result()),
    "arguments_are_a_json_object": chat(user("a"), calls(call(arguments='["x"]')), result()),
    "files_have_a_type_that_is_taken": chat(
        user([{"type": "image_url", "image_url": {"url": "data:image/tiff;base64,AAAA"}}])
    ),
    "tools_have_names_and_object_schemas": chat(user("a"), **function("a b", SCHEMA)),
}
STRICT_REFUSED: Mapping[str, Body] = {
    "text_alone_is_a_string": chat(user([{"type": "text", "text": "hi"}])),
    "one_system_message_at_the_start": chat(user("a"), {"role": "system", "content": "b"}),
    "user_and_assistant_alternate": chat(user("a"), user("b")),
    "the_last_message_is_not_the_assistants": chat(user("a"), assistant("b")),
}
MISTRAL_REFUSED: Mapping[str, Body] = {
    "call_ids_have_nine_letters_or_digits": chat(
        user("a"), calls(call("call_1")), result("call_1")
    ),
    "only_the_assistant_follows_a_tool": chat(user("a"), calls(), result(), user("b")),
    "messages_have_no_other_fields": chat(
        user("a"), assistant("b", reasoning_content="c"), user("d")
    ),
}

# Messages


def text(value: str) -> Body:
    return {"type": "text", "text": value}


def tool_use(id_: str = "toolu_01", **more: Any) -> Body:
    return {"type": "tool_use", "id": id_, "name": "get_weather", "input": {}, **more}


def tool_result(id_: str = "toolu_01", content: Any = "15") -> Body:
    return {"type": "tool_result", "tool_use_id": id_, "content": content}


def image(media_type: str = "image/png", data: str = PNG) -> Body:
    return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}}


THINKING = {"type": "thinking", "thinking": "Let me see.", "signature": "EuYBCkQYAiJA"}


def create(*messages: Body, **more: Any) -> Body:
    return {"model": "m", "max_tokens": 1024, "messages": list(messages), **more}


MESSAGES_EXAMPLES = (
    create(user("Hello, Claude")),
    create(user("Hello"), assistant("Hi!"), user("Describe LLMs"), system="You are a poet."),
    create(
        user("Weather?"),
        assistant([THINKING, text("I will check."), tool_use()]),
        user([tool_result(), text("Go on.")]),
        tools=[{"name": "get_weather", "input_schema": SCHEMA}],
    ),
    create(user([image(), text("What is this?")])),
    create(
        user("a"),
        assistant([tool_use("t1"), tool_use("t2")]),
        user([tool_result("t2"), tool_result("t1")]),
    ),
    create(
        user("a"),
        assistant([THINKING, tool_use()]),
        user([tool_result()]),
        thinking={"type": "enabled", "budget_tokens": 1024},
    ),
)
MESSAGES_REFUSED: Mapping[str, Body] = {
    "max_tokens_is_given": {"model": "m", "messages": [user("a")]},
    "the_first_message_is_the_users": create(assistant("a"), user("b")),
    "roles_are_user_and_assistant_in_turn": create(
        user("a"), {"role": "system", "content": "b"}, user("c")
    ),
    "the_last_message_is_the_users": create(user("a"), assistant("b")),
    "a_final_answer_has_no_trailing_whitespace": create(user("a"), assistant("b ")),
    "no_content_is_empty": create(user([])),
    "no_text_is_blank": create(user([text("\n")])),
    "the_system_prompt_is_not_blank": create(user("a"), system=" "),
    "every_call_is_answered_once_in_the_next_message": create(
        user("a"), assistant([tool_use()]), user("b"), assistant("c"), user([tool_result()])
    ),
    "results_come_first_in_a_message": create(
        user("a"), assistant([tool_use()]), user([text("b"), tool_result()])
    ),
    "call_ids_fit": create(
        user("a"),
        assistant([tool_use("functions.Bash:0")]),
        user([tool_result("functions.Bash:0")]),
    ),
    "call_ids_are_unique": create(
        user("a"), assistant([tool_use(), tool_use()]), user([tool_result(), tool_result()])
    ),
    "called_names_fit": create(user("a"), assistant([tool_use(name="a b")]), user([tool_result()])),
    "arguments_are_an_object": create(
        user("a"), assistant([tool_use(input="x")]), user([tool_result()])
    ),
    "thinking_has_its_signature": create(
        user("a"), assistant([{"type": "thinking", "thinking": "b"}, text("c")]), user("d")
    ),
    "no_answer_ends_with_thinking": create(user("a"), assistant([THINKING]), user("b")),
    "a_tool_loop_begins_with_thinking_if_it_is_enabled": create(
        user("a"),
        assistant([text("b"), tool_use()]),
        user([tool_result()]),
        thinking={"type": "enabled", "budget_tokens": 1024},
    ),
    "files_have_a_type_and_size_that_are_taken": create(user([image("image/jpeg")])),
    "tools_have_names_and_object_schemas": create(
        user("a"), tools=[{"name": "x", "input_schema": {}}]
    ),
}

# Responses

REASONING = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}


def responses(*items: Body, **more: Any) -> Body:
    return {"model": "m", "store": False, "input": list(items), **more}


def function_call(id_: str = "call_1", **more: Any) -> Body:
    named = {"type": "function_call", "call_id": id_, "name": "get_weather", "arguments": "{}"}
    return {**named, **more}


def output(id_: str = "call_1", value: str = "15") -> Body:
    return {"type": "function_call_output", "call_id": id_, "output": value}


def answer(id_: str, value: str = "b") -> Body:
    content = [{"type": "output_text", "text": value, "annotations": []}]
    return {"type": "message", "role": "assistant", "id": id_, "content": content}


STRICT_TOOL = {
    "type": "function",
    "name": "x",
    "parameters": {**SCHEMA, "additionalProperties": False},
}
RESPONSES_EXAMPLES = (
    responses(user("Tell me a story.")),
    responses(user("a"), REASONING, function_call(id="fc_1r"), output(), tools=[STRICT_TOOL]),
    responses(user("a"), REASONING, answer("msg_1r"), user("c")),
    responses(
        user(
            [
                {"type": "input_text", "text": "what is in this file?"},
                {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"},
                {
                    "type": "input_file",
                    "filename": "a.pdf",
                    "file_data": "data:application/pdf;base64,AAAA",
                },
            ]
        )
    ),
)
RESPONSES_REFUSED: Mapping[str, Body] = {
    "the_input_is_not_empty": responses(),
    "items_have_a_known_type_and_role": responses({"type": "item_of_no_type"}, user("a")),
    "no_text_is_blank": responses(user("a"), answer("msg_1", ""), user("b")),
    "no_content_is_empty": responses(user([])),
    "reasoning_is_followed_by_its_item": responses(user("a"), REASONING, user("b")),
    "an_item_with_an_id_follows_its_reasoning": responses(user("a"), answer("msg_1r.0"), user("b")),
    "reasoning_is_encrypted_if_nothing_is_stored": responses(
        user("a"), {**REASONING, "encrypted_content": None}, answer("msg_1"), user("b")
    ),
    "reasoning_has_a_summary": responses(
        user("a"),
        {"type": "reasoning", "id": "rs_1", "encrypted_content": "x"},
        answer("m"),
        user("b"),
    ),
    "item_ids_are_unique": responses(
        user("a"), answer("msg_1"), user("b"), answer("msg_1"), user("c")
    ),
    "every_call_is_answered_once": responses(user("a"), function_call(), user("b")),
    "call_ids_have_at_most_64_characters": responses(
        user("a"), function_call("x" * 65), output("x" * 65)
    ),
    "call_ids_are_unique": responses(
        user("a"), function_call(), output(), function_call(), output()
    ),
    "called_names_fit": responses(user("a"), function_call(name="a.b"), output()),
    "arguments_are_a_json_object": responses(user("a"), function_call(arguments="{"), output()),
    "files_have_a_type_that_is_taken": responses(
        user(
            [{"type": "input_file", "filename": "a.mp4", "file_data": "data:video/mp4;base64,AAAA"}]
        )
    ),
    "the_last_item_is_not_the_assistants": responses(user("a"), answer("msg_1")),
    "a_strict_tool_has_a_closed_schema": responses(
        user("a"), tools=[{"type": "function", "name": "x", "parameters": SCHEMA}]
    ),
    "tools_have_names_and_object_schemas": responses(
        user("a"), tools=[{"type": "function", "name": "a b", "parameters": {}, "strict": False}]
    ),
}

RULE_BOOKS: Mapping[str, tuple[list[Rule], Mapping[str, Body]]] = {
    "chat-completions": (CHAT_COMPLETIONS, CHAT_REFUSED),
    "strict-template": (STRICT_TEMPLATE, STRICT_REFUSED),
    "mistral": (MISTRAL, MISTRAL_REFUSED),
    "messages": (MESSAGES, MESSAGES_REFUSED),
    "responses": (RESPONSES, RESPONSES_REFUSED),
}
CASES = [
    pytest.param(rule, refused.get(rule.name), id=f"{book}-{rule.name}")
    for book, (rules, refused) in RULE_BOOKS.items()
    for rule in rules
]


@pytest.mark.parametrize(("rule", "refused"), CASES)
def test_rule_rejects_what_its_source_says_is_rejected(rule: Rule, refused: Body | None) -> None:
    assert refused is not None, "this rule has no case"
    assert rule.source
    assert violations(refused, [rule])


@pytest.mark.parametrize("book", RULE_BOOKS)
def test_case_belongs_to_a_rule(book: str) -> None:
    rules, refused = RULE_BOOKS[book]
    assert {rule.name for rule in rules} == set(refused)


@pytest.mark.parametrize(
    ("rules", "body"),
    [
        *(([*CHAT_COMPLETIONS, *STRICT_TEMPLATE, *MISTRAL], body) for body in CHAT_EXAMPLES),
        *((MESSAGES, body) for body in MESSAGES_EXAMPLES),
        *((RESPONSES, body) for body in RESPONSES_EXAMPLES),
    ],
)
def test_examples_of_the_documentation_are_accepted(rules: list[Rule], body: Body) -> None:
    assert violations(body, rules) == []
