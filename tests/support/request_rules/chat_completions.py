"""Rules of Chat Completions, of strict chat templates, and of Mistral's API."""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from support.request_rules.rule import (
    TOOL_NAME,
    Body,
    RuleBook,
    data_url,
    duplicates,
    is_blank,
    is_json_object,
    tool_schema_breaches,
)

_API = "https://platform.openai.com/docs/api-reference/chat/create"

CHAT_COMPLETIONS = RuleBook()
STRICT_TEMPLATE = RuleBook()
"""Rules of servers that render the model's own template, or take less than OpenAI does."""
MISTRAL = RuleBook()


def _calls(message: Body) -> list[Body]:
    return message.get("tool_calls") or []


def _texts(message: Body) -> Iterator[Any]:
    content = message.get("content")
    if isinstance(content, list):
        yield from (part["text"] for part in content if part["type"] == "text")
    elif content is not None:
        yield content


@CHAT_COMPLETIONS.rule(_API)
def messages_have_a_known_role(body: Body) -> Iterator[str]:
    if not body["messages"]:
        yield "no message"
    for message in body["messages"]:
        if message["role"] not in {"system", "developer", "user", "assistant", "tool"}:
            yield f"role {message['role']!r}"


@CHAT_COMPLETIONS.rule("anthropics/claude-code#23440; BiFangKNT/mtga#68 (behind a gateway)")
def no_text_is_blank(body: Body) -> Iterator[str]:
    for number, message in enumerate(body["messages"]):
        if any(map(is_blank, _texts(message))):
            yield f"messages[{number}]"


@CHAT_COMPLETIONS.rule(_API)
def no_content_is_empty(body: Body) -> Iterator[str]:
    for number, message in enumerate(body["messages"]):
        if message.get("content") in ([], None) and not _calls(message):
            yield f"messages[{number}] has neither content nor tool calls"


@CHAT_COMPLETIONS.rule(
    "https://platform.openai.com/docs/guides/function-calling; vllm-project/vllm#6862"
)
def every_call_is_answered_once_right_after(body: Body) -> Iterator[str]:
    open_ids: list[str] = []
    for number, message in enumerate([*body["messages"], {"role": "end"}]):
        if message["role"] == "tool":
            if message.get("tool_call_id") not in open_ids:
                yield f"messages[{number}] answers no call"
            else:
                open_ids.remove(message["tool_call_id"])
            continue
        if open_ids:
            yield f"calls {open_ids} before messages[{number}] have no result"
        open_ids = [call["id"] for call in _calls(message)]


@CHAT_COMPLETIONS.rule("langgenius/dify#28987; microsoft/autogen#6377")
def call_ids_have_at_most_40_characters(body: Body) -> Iterator[str]:
    ids = [call["id"] for message in body["messages"] for call in _calls(message)]
    yield from (repr(id_) for id_ in ids if not 0 < len(id_) <= 40)


@CHAT_COMPLETIONS.rule("editor-code-assistant/eca#233")
def call_ids_are_unique(body: Body) -> Iterator[str]:
    yield from duplicates(call["id"] for message in body["messages"] for call in _calls(message))


@CHAT_COMPLETIONS.rule(f"{_API}; mrexodia/ida-pro-mcp#129")
def called_names_fit(body: Body) -> Iterator[str]:
    for message in body["messages"]:
        for call in _calls(message):
            if not TOOL_NAME.fullmatch(call["function"]["name"]):
                yield repr(call["function"]["name"])


@CHAT_COMPLETIONS.rule(f"{_API}; vllm and llama.cpp parse them for the template")
def arguments_are_a_json_object(body: Body) -> Iterator[str]:
    for message in body["messages"]:
        for call in _calls(message):
            if not is_json_object(call["function"]["arguments"]):
                yield repr(call["function"]["arguments"])


@CHAT_COMPLETIONS.rule(
    f"{_API}; https://developers.openai.com/api/docs/guides/file-inputs: PDF only"
)
def files_have_a_type_that_is_taken(body: Body) -> Iterator[str]:
    images = {"image/png", "image/jpeg", "image/gif", "image/webp"}
    for message in body["messages"]:
        content = message.get("content")
        for part in content if isinstance(content, list) else []:
            match part["type"]:
                case "text":
                    pass
                case "image_url" if data_url(part["image_url"]["url"])[0] in images:
                    pass
                case "input_audio" if part["input_audio"]["format"] in {"wav", "mp3"}:
                    pass
                case "file" if data_url(part["file"]["file_data"])[0] == "application/pdf":
                    pass
                case _:
                    yield f"part {part['type']}"


@CHAT_COMPLETIONS.rule(_API)
def tools_have_names_and_object_schemas(body: Body) -> Iterator[str]:
    for tool in body.get("tools") or []:
        function = tool["function"]
        yield from tool_schema_breaches(function["name"], function.get("parameters"))


@STRICT_TEMPLATE.rule("can1357/oh-my-pi#6341; livekit/agents#1812")
def text_alone_is_a_string(body: Body) -> Iterator[str]:
    for number, message in enumerate(body["messages"]):
        content = message.get("content")
        if isinstance(content, list) and all(part["type"] == "text" for part in content):
            yield f"messages[{number}]"


@STRICT_TEMPLATE.rule("suitenumerique/conversations#197")
def one_system_message_at_the_start(body: Body) -> Iterator[str]:
    for number, message in enumerate(body["messages"]):
        if message["role"] == "system" and number:
            yield f"messages[{number}]"


@STRICT_TEMPLATE.rule("vllm-project/vllm#6862; charmbracelet/crush#279; google/adk-python#1373")
def user_and_assistant_alternate(body: Body) -> Iterator[str]:
    """As in the templates of Mistral's models: calls and their results are left out of the count."""
    expected = "user"
    for number, message in enumerate(body["messages"]):
        if message["role"] in {"system", "tool"} or _calls(message):
            continue
        if message["role"] != expected:
            yield f"messages[{number}] is of {message['role']}"
        expected = "assistant" if message["role"] == "user" else "user"


@STRICT_TEMPLATE.rule("aaif-goose/goose#7425; smallmain/vscode-unify-chat-provider#249")
def the_last_message_is_not_the_assistants(body: Body) -> Iterator[str]:
    if body["messages"][-1]["role"] not in {"user", "tool"}:
        yield body["messages"][-1]["role"]


@MISTRAL.rule("https://docs.mistral.ai/api; anomalyco/opencode#1680: code 3280")
def call_ids_have_nine_letters_or_digits(body: Body) -> Iterator[str]:
    for message in body["messages"]:
        ids = [call["id"] for call in _calls(message)]
        ids += [message["tool_call_id"]] if message["role"] == "tool" else []
        yield from (id_ for id_ in ids if not re.fullmatch(r"[a-zA-Z0-9]{9}", id_))


@MISTRAL.rule("BerriAI/litellm#17761; avante-corp/avante.nvim#2562: code 3230")
def only_the_assistant_follows_a_tool(body: Body) -> Iterator[str]:
    roles = [message["role"] for message in body["messages"]]
    for before, after in pairwise(roles):
        if before == "tool" and after not in {"assistant", "tool"}:
            yield f"{after} after tool"


@MISTRAL.rule("https://docs.mistral.ai/api: 422 extra_forbidden")
def messages_have_no_other_fields(body: Body) -> Iterator[str]:
    known = {"role", "content", "tool_calls", "tool_call_id", "name", "prefix"}
    for message in body["messages"]:
        yield from message.keys() - known
