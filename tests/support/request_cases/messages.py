"""Requests of Anthropic's Messages API."""

from typing import Any

from support.request_cases.case import PNG, SCHEMA, Refused, assistant, user
from support.request_rules import Body


def text(value: str) -> Body:
    return {"type": "text", "text": value}


def tool_use(id_: str = "toolu_01", **more: Any) -> Body:
    return {"type": "tool_use", "id": id_, "name": "get_weather", "input": {}, **more}


def tool_result(id_: str = "toolu_01", content: Any = "15") -> Body:
    return {"type": "tool_result", "tool_use_id": id_, "content": content}


def image(media_type: str = "image/png", data: str = PNG) -> Body:
    return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}}


def server_tool_use(id_: str = "srvtoolu_1", name: str = "web_search") -> Body:
    return {"type": "server_tool_use", "id": id_, "name": name, "input": {"query": "weather"}}


def search_result(id_: str = "srvtoolu_1", **more: Any) -> Body:
    page = {"type": "web_search_result", "url": PAGE, "title": "Weather"}
    found = [{**page, "encrypted_content": "EqgfCioIARgB", **more}]
    return {"type": "web_search_tool_result", "tool_use_id": id_, "content": found}


def cited(url: str) -> Body:
    citation = {"type": "web_search_result_location", "url": url, "encrypted_index": "Eo8BCioI"}
    return {**text("Sunny."), "citations": [citation]}


def searched(*answer: Body, then: Any = "b", tool: str = "web_search") -> Body:
    """Return a request with an answer of native tools, what the user says then, and the tool offered."""
    tools = [{"type": f"{tool}_20250305", "name": tool}]
    return create(user("Weather?"), assistant(list(answer)), user(then), tools=tools)


PAGE = "https://weather.example/graz"
BASH = "bash_code_execution"
BASH_RESULT = {
    "type": f"{BASH}_tool_result",
    "tool_use_id": "srvtoolu_1",
    "content": {"type": f"{BASH}_result", "stdout": "4", "stderr": "", "return_code": 0},
}
FAILED_SEARCH = {
    **search_result(),
    "content": {"type": "web_search_tool_result_error", "error_code": "max_uses_exceeded"},
}
THINKING = {"type": "thinking", "thinking": "Let me see.", "signature": "EuYBCkQYAiJA"}


def create(*messages: Body, **more: Any) -> Body:
    return {"model": "m", "max_tokens": 1024, "messages": list(messages), **more}


EXAMPLES = (
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
    searched(text("I will search."), server_tool_use(), search_result(), cited(PAGE)),
    searched(server_tool_use(), FAILED_SEARCH, text("Hm.")),
    searched(server_tool_use(name=BASH), BASH_RESULT, text("4"), tool="code_execution"),
    searched(server_tool_use(), tool_use(), then=[tool_result()]),
    {
        **searched(server_tool_use(), tool_use(), then=[tool_result()]),
        "messages": [
            *searched(server_tool_use(), tool_use(), then=[tool_result()])["messages"],
            assistant([search_result(), cited(PAGE)]),
            user("b"),
        ],
    },
    {
        **searched(),
        "messages": [user("Weather?"), assistant([server_tool_use(), search_result()])],
    },
)
REFUSED: Refused = {
    "max_tokens_is_given": {"model": "m", "messages": [user("a")]},
    "the_first_message_is_the_users": create(assistant("a"), user("b")),
    "roles_are_user_and_assistant_in_turn": create(
        user("a"), {"role": "system", "content": "b"}, user("c")
    ),
    "the_last_message_is_the_users": (
        create(user("a"), assistant("b")),
        create(user("a"), assistant([])),
        create(user("a"), assistant([server_tool_use(), search_result(), text("Hm.")])),
    ),
    "a_final_answer_has_no_trailing_whitespace": create(user("a"), assistant("b ")),
    "no_content_is_empty": create(user([])),
    "no_text_is_blank": create(user([text("\n")])),
    "the_system_prompt_is_not_blank": create(user("a"), system=" "),
    "every_call_is_answered_once_in_the_next_message": create(
        user("a"), assistant([tool_use()]), user("b"), assistant("c"), user([tool_result()])
    ),
    "every_native_call_has_its_result": (
        searched(server_tool_use(), text("Hm.")),
        searched(search_result(), text("Hm.")),
        searched(search_result(), server_tool_use(), text("Hm.")),
        searched(server_tool_use(), search_result("srvtoolu_2"), text("Hm.")),
        searched(server_tool_use(), BASH_RESULT, text("Hm.")),
        searched(server_tool_use(), search_result(), server_tool_use(), search_result()),
        searched(server_tool_use(), search_result(), search_result(), text("Hm.")),
    ),
    "search_results_are_as_they_came": searched(
        server_tool_use(), search_result(encrypted_content=""), text("Hm.")
    ),
    "citations_have_their_results": (
        searched(server_tool_use(), search_result(), cited("https://other.example")),
        searched(cited(PAGE)),
        searched(server_tool_use(), FAILED_SEARCH, cited(PAGE)),
    ),
    "native_tools_are_offered": (
        {**searched(server_tool_use(), search_result(), text("Hm.")), "tools": []},
        searched(server_tool_use(name=BASH), BASH_RESULT, text("4")),
        {
            **searched(server_tool_use(), search_result(), text("Hm.")),
            "tools": [{"name": "web_search", "input_schema": SCHEMA}],
        },
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
