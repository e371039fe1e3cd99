"""Rules of OpenAI's Responses API, called with ``store: false``."""

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

_API = "https://platform.openai.com/docs/api-reference/responses/create"
_REASONING = "https://platform.openai.com/docs/guides/reasoning"

_NATIVE_ITEMS = {"web_search_call", "code_interpreter_call"}
_NATIVE_TOOLS = {"web_search", "code_interpreter"}

RESPONSES = RuleBook()


def _kind(item: Body) -> str:
    kind: str = item.get("type", "message")
    return kind


def _items(body: Body, kind: str) -> list[Body]:
    return [item for item in body["input"] if _kind(item) == kind]


def _function_tools(body: Body) -> list[Body]:
    return [tool for tool in body.get("tools") or [] if tool["type"] not in _NATIVE_TOOLS]


def _texts(item: Body) -> Iterator[Any]:
    content = item.get("content")
    if isinstance(content, list):
        yield from (part["text"] for part in content if part["type"].endswith("_text"))
    else:
        yield content


@RESPONSES.rule(_API)
def the_input_is_not_empty(body: Body) -> Iterator[str]:
    if not body["input"]:
        yield "it is"


@RESPONSES.rule(_API)
def items_have_a_known_type_and_role(body: Body) -> Iterator[str]:
    for item in body["input"]:
        known = {"message", "reasoning", "function_call", "function_call_output", *_NATIVE_ITEMS}
        if _kind(item) not in known:
            yield _kind(item)
        if _kind(item) == "message" and item["role"] not in {"system", "user", "assistant"}:
            yield item["role"]


@RESPONSES.rule("anthropics/claude-code#23440 (behind a gateway); vercel/ai#8031")
def no_text_is_blank(body: Body) -> Iterator[str]:
    for item in _items(body, "message"):
        if any(map(is_blank, _texts(item))):
            yield item["role"]
    for item in _items(body, "function_call_output"):
        output = item["output"]
        texts = [output] if isinstance(output, str) else [c["text"] for c in output if "text" in c]
        if not output or any(map(is_blank, texts)):
            yield item["call_id"]


@RESPONSES.rule(_API)
def no_content_is_empty(body: Body) -> Iterator[str]:
    yield from (item["role"] for item in _items(body, "message") if not item["content"])


@RESPONSES.rule("continuedev/continue#8933; vercel/ai#7099; openai/openai-node#1567")
def reasoning_is_followed_by_its_item(body: Body) -> Iterator[str]:
    items = [*body["input"], {"type": "end"}]
    for item, after in pairwise(items):
        leads_on = (
            _kind(after) in {"reasoning", "function_call", *_NATIVE_ITEMS}
            or after.get("role") == "assistant"
        )
        if _kind(item) == "reasoning" and not leads_on:
            yield f"{item['id']} is followed by {_kind(after)}"


@RESPONSES.rule(
    "continuedev/continue#12620: 'message' was provided without its required 'reasoning' item"
)
def an_item_with_an_id_follows_its_reasoning(body: Body) -> Iterator[str]:
    """As far as a request shows it.

    The ids of these tests name their answer: ``rs_7.0``, ``msg_7r.1``, with r for an item that reasoning
    of its answer precedes.
    """

    def answer(item: Body) -> str:
        return item.get("id", "").partition("_")[2].partition(".")[0]

    reasoned = {answer(item) for item in _items(body, "reasoning")}
    for item in body["input"]:
        if answer(item).endswith("r") and answer(item).rstrip("r") not in reasoned:
            yield item["id"]


@RESPONSES.rule(
    f"{_REASONING}: encrypted reasoning items; 'Items are not persisted when store is false'"
)
def reasoning_is_encrypted_if_nothing_is_stored(body: Body) -> Iterator[str]:
    for item in _items(body, "reasoning"):
        if not body.get("store", True) and not item.get("encrypted_content"):
            yield item["id"]


@RESPONSES.rule("newo-ether/Agora#141")
def reasoning_has_a_summary(body: Body) -> Iterator[str]:
    yield from (
        i["id"] for i in _items(body, "reasoning") if not isinstance(i.get("summary"), list)
    )


@RESPONSES.rule("earendil-works/pi#5151; vercel/ai#7883")
def item_ids_are_unique(body: Body) -> Iterator[str]:
    yield from duplicates(item["id"] for item in body["input"] if item.get("id"))


@RESPONSES.rule("https://platform.openai.com/docs/guides/function-calling: 'No tool output found'")
def every_call_is_answered_once(body: Body) -> Iterator[str]:
    open_ids: list[str] = []
    for item in body["input"]:
        if _kind(item) == "function_call":
            open_ids.append(item["call_id"])
        elif _kind(item) == "function_call_output":
            if item["call_id"] not in open_ids:
                yield f"{item['call_id']} answers no call"
            else:
                open_ids.remove(item["call_id"])
    yield from (f"{call_id} has no output" for call_id in open_ids)


@RESPONSES.rule(_API)
def native_items_are_as_they_came(body: Body) -> Iterator[str]:
    """With its id, what was done, and the tool offered."""
    offered = {tool["type"] for tool in body.get("tools") or []}
    for item in _items(body, "web_search_call"):
        if not (item.get("id") and item.get("status") and item.get("action", {}).get("type")):
            yield f"{item}"
        if "web_search" not in offered:
            yield f"{_kind(item)}: the tool is not offered"
    for item in _items(body, "code_interpreter_call"):
        if not (item.get("id") and item.get("status") and item.get("container_id")):
            yield f"{item}"
        if "code_interpreter" not in offered:
            yield f"{_kind(item)}: the tool is not offered"


@RESPONSES.rule(f"{_API}; openclaw/openclaw#875: 'maximum length 64'")
def call_ids_have_at_most_64_characters(body: Body) -> Iterator[str]:
    ids = [item["call_id"] for item in _items(body, "function_call")]
    yield from (repr(id_) for id_ in ids if not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", id_))


@RESPONSES.rule("editor-code-assistant/eca#233")
def call_ids_are_unique(body: Body) -> Iterator[str]:
    yield from duplicates(item["call_id"] for item in _items(body, "function_call"))


@RESPONSES.rule(f"{_API}: ^[a-zA-Z0-9_-]+$")
def called_names_fit(body: Body) -> Iterator[str]:
    for item in _items(body, "function_call"):
        if not TOOL_NAME.fullmatch(item["name"]):
            yield repr(item["name"])


@RESPONSES.rule(_API)
def arguments_are_a_json_object(body: Body) -> Iterator[str]:
    for item in _items(body, "function_call"):
        if not is_json_object(item["arguments"]):
            yield repr(item["arguments"])


@RESPONSES.rule("https://developers.openai.com/api/docs/guides/file-inputs?api-mode=responses")
def files_have_a_type_that_is_taken(body: Body) -> Iterator[str]:
    images = {"image/png", "image/jpeg", "image/gif", "image/webp"}
    office = "application/vnd.openxmlformats-officedocument."
    documents = {
        "application/pdf",
        f"{office}wordprocessingml.document",
        f"{office}spreadsheetml.sheet",
    }
    for item in _items(body, "message"):
        for part in item["content"] if isinstance(item["content"], list) else []:
            match part["type"]:
                case "input_text" | "output_text":
                    pass
                case "input_image" if data_url(part["image_url"])[0] in images:
                    pass
                case "input_file" if data_url(part["file_data"])[0] in documents:
                    pass
                case _:
                    yield part["type"]


@RESPONSES.rule(_API)
def the_last_item_is_not_the_assistants(body: Body) -> Iterator[str]:
    last = body["input"][-1] if body["input"] else {"role": "user"}
    if _kind(last) != "function_call_output" and last.get("role") != "user":
        yield _kind(last)


@RESPONSES.rule("https://platform.openai.com/docs/guides/function-calling: strict mode")
def a_strict_tool_has_a_closed_schema(body: Body) -> Iterator[str]:
    """In this API ``strict`` is true by default, and its schemas are closed and require all."""
    for tool in _function_tools(body):
        schema = tool["parameters"]
        closed = schema.get("additionalProperties") is False
        required = set(schema.get("required", [])) == set(schema.get("properties", {}))
        if tool.get("strict", True) and not (closed and required):
            yield tool["name"]


@RESPONSES.rule(_API)
def tools_have_names_and_object_schemas(body: Body) -> Iterator[str]:
    for tool in _function_tools(body):
        yield from tool_schema_breaches(tool["name"], tool.get("parameters"))
