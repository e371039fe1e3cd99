"""Requests of OpenAI's Responses API."""

from typing import Any

from support.request_cases.case import PNG, SCHEMA, Refused, user
from support.request_rules import Body

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


def searched(tool: str = "web_search", **more: Any) -> Body:
    """Return a request whose history has a search, with what is different about its item."""
    action = {"type": "search", "query": "weather"}
    item = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": action}
    return responses(
        user("Weather?"), {**item, **more}, answer("msg_1"), user("c"), tools=[{"type": tool}]
    )


def calculated(tool: str = "code_interpreter", **more: Any) -> Body:
    """Return a request whose history has code that ran, with what is different about its item."""
    item = {"type": "code_interpreter_call", "id": "ci_1", "status": "completed", "code": "1"}
    offered = {"type": tool, "container": {"type": "auto"}}
    return responses(
        user("1?"),
        {**item, "container_id": "cntr_1", **more},
        answer("msg_1"),
        user("c"),
        tools=[offered],
    )


STRICT_TOOL = {
    "type": "function",
    "name": "x",
    "parameters": {**SCHEMA, "additionalProperties": False},
}
EXAMPLES = (
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
    searched(),
    searched(action={"type": "open_page", "url": "https://weather.example/graz"}),
    calculated(),
)
REFUSED: Refused = {
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
    "native_items_are_as_they_came": (
        searched(id=""),
        searched(status=None),
        searched(action={}),
        searched("code_interpreter"),
        calculated(id=""),
        calculated(status=None),
        calculated(container_id=""),
        calculated("web_search"),
    ),
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
