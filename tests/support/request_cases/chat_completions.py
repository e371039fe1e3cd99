"""Requests of Chat Completions, of strict templates, and of Mistral's API."""

from typing import Any

from support.request_cases.case import PNG, SCHEMA, Refused, assistant, user
from support.request_rules import Body


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


EXAMPLES = (
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
REFUSED: Refused = {
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
STRICT_REFUSED: Refused = {
    "text_alone_is_a_string": chat(user([{"type": "text", "text": "hi"}])),
    "one_system_message_at_the_start": chat(user("a"), {"role": "system", "content": "b"}),
    "user_and_assistant_alternate": chat(user("a"), user("b")),
    "the_last_message_is_not_the_assistants": chat(user("a"), assistant("b")),
}
MISTRAL_REFUSED: Refused = {
    "call_ids_have_nine_letters_or_digits": chat(
        user("a"), calls(call("call_1")), result("call_1")
    ),
    "only_the_assistant_follows_a_tool": chat(user("a"), calls(), result(), user("b")),
    "messages_have_no_other_fields": chat(
        user("a"), assistant("b", reasoning_content="c"), user("d")
    ),
}
