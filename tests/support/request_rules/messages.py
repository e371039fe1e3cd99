"""Rules of Anthropic's Messages API."""

import base64
import re
from collections.abc import Iterator

from support.request_rules.rule import (
    TOOL_NAME,
    Body,
    RuleBook,
    duplicates,
    is_blank,
    tool_schema_breaches,
)

_API = "https://docs.claude.com/en/api/messages"
_THINKING = "https://docs.claude.com/en/docs/build-with-claude/extended-thinking"
_TOOLS = "https://docs.claude.com/en/docs/agents-and-tools/tool-use/implement-tool-use"
_VISION = "https://docs.claude.com/en/docs/build-with-claude/vision"

_IMAGES = {
    "image/png": b"\x89PNG",
    "image/jpeg": b"\xff\xd8\xff",
    "image/gif": b"GIF8",
    "image/webp": b"RIFF",
}
_MAX_IMAGE_BASE64 = 5_242_880

_RESULTS = {
    "web_search": "web_search_tool_result",
    "web_fetch": "web_fetch_tool_result",
    "code_execution": "code_execution_tool_result",
    "bash_code_execution": "bash_code_execution_tool_result",
    "text_editor_code_execution": "text_editor_code_execution_tool_result",
}
"""Types of the results of native tools, by the names of the tools."""
_NATIVE_BLOCKS = {"server_tool_use", *_RESULTS.values()}

MESSAGES = RuleBook()


def _blocks(body: Body, kind: str = "") -> Iterator[tuple[int, Body]]:
    for number, message in enumerate(body["messages"]):
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        yield from ((number, block) for block in blocks if kind in ("", block["type"]))


def _last_kind(message: Body) -> str:
    """Return the type of the last block of a message. Empty: it has none."""
    kinds = ["", *(block["type"] for _, block in _blocks({"messages": [message]}))]
    return kinds[-1]


def _ids(message: Body, kind: str, key: str) -> list[str]:
    content = message["content"] if isinstance(message["content"], list) else []
    return [block[key] for block in content if block["type"] == kind]


@MESSAGES.rule(_API)
def max_tokens_is_given(body: Body) -> Iterator[str]:
    if not isinstance(body.get("max_tokens"), int) or body["max_tokens"] < 1:
        yield repr(body.get("max_tokens"))


@MESSAGES.rule(_API)
def the_first_message_is_the_users(body: Body) -> Iterator[str]:
    if not body["messages"] or body["messages"][0]["role"] != "user":
        yield "it is not"


@MESSAGES.rule(_API)
def roles_are_user_and_assistant_in_turn(body: Body) -> Iterator[str]:
    for number, message in enumerate(body["messages"]):
        if message["role"] != ("user", "assistant")[number % 2]:
            yield f"messages.{number} is of {message['role']}"


@MESSAGES.rule("aaif-goose/goose#7425: 'This model does not support assistant message prefill'")
def the_last_message_is_the_users(body: Body) -> Iterator[str]:
    """Or an answer that was paused within a native tool: laravel/ai#493."""
    last = body["messages"][-1] if body["messages"] else {"role": "user"}
    if last["role"] != "user" and _last_kind(last) not in _NATIVE_BLOCKS:
        yield "it is not"


@MESSAGES.rule(f"{_API}: final assistant content cannot end with trailing whitespace")
def a_final_answer_has_no_trailing_whitespace(body: Body) -> Iterator[str]:
    last = body["messages"][-1] if body["messages"] else {}
    if last.get("role") == "assistant":
        texts = [block["text"] for _, block in _blocks({"messages": [last]}, "text")]
        if texts and texts[-1] != texts[-1].rstrip():
            yield "it has"


@MESSAGES.rule("anthropics/claude-code#6458: 'all messages must have non-empty content'")
def no_content_is_empty(body: Body) -> Iterator[str]:
    yield from (f"messages.{n}" for n, m in enumerate(body["messages"]) if not m["content"])


@MESSAGES.rule("anthropics/claude-code#23440; anthropics/claude-code#59812")
def no_text_is_blank(body: Body) -> Iterator[str]:
    yield from (f"messages.{n}" for n, block in _blocks(body, "text") if is_blank(block["text"]))
    for number, block in _blocks(body, "tool_result"):
        content = block.get("content") or []
        texts = (
            [content] if isinstance(content, str) else [c["text"] for c in content if "text" in c]
        )
        if any(map(is_blank, texts)):
            yield f"messages.{number}: tool_result"


@MESSAGES.rule(_API)
def the_system_prompt_is_not_blank(body: Body) -> Iterator[str]:
    system = body.get("system")
    texts = [system] if isinstance(system, str) else [block["text"] for block in system or []]
    if any(map(is_blank, texts)):
        yield "it is"


@MESSAGES.rule("anthropics/claude-code#8612; anthropics/claude-code#18947")
def every_call_is_answered_once_in_the_next_message(body: Body) -> Iterator[str]:
    before: Body = {"content": []}
    for number, message in enumerate([*body["messages"], {"content": []}]):
        calls = sorted(_ids(before, "tool_use", "id"))
        results = sorted(_ids(message, "tool_result", "tool_use_id"))
        if calls != results:
            yield f"messages.{number}: calls {calls}, results {results}"
        before = message


@MESSAGES.rule("laravel/ai#493; vellum-ai/vellum-assistant#40897; anthropics/claude-code#95406")
def every_native_call_has_its_result(body: Body) -> Iterator[str]:
    """In the same answer or a later one, or none yet while only results of other tools follow."""
    open_calls: dict[str, str] = {}
    seen: set[str] = set()
    for message in body["messages"]:
        for _, block in _blocks({"messages": [message]}):
            if block["type"] == "server_tool_use":
                if block["id"] in seen:
                    yield f"{block['id']} is there twice"
                seen.add(block["id"])
                open_calls[block["id"]] = block["name"]
            elif block["type"] in _NATIVE_BLOCKS:
                name = open_calls.pop(block["tool_use_id"], "")
                if _RESULTS.get(name) != block["type"]:
                    yield f"{block['tool_use_id']} answers no call of its kind"
            elif message["role"] == "user" and block["type"] != "tool_result" and open_calls:
                yield f"{sorted(open_calls)} have no result"
                open_calls.clear()


@MESSAGES.rule(f"{_API}: web_search_result.encrypted_content is required")
def search_results_are_as_they_came(body: Body) -> Iterator[str]:
    for number, block in _blocks(body, "web_search_tool_result"):
        results = block["content"] if isinstance(block["content"], list) else []
        if not all(result.get("encrypted_content") for result in results):
            yield f"messages.{number}"


@MESSAGES.rule("the encrypted_index of a citation refers to a result of a search")
def citations_have_their_results(body: Body) -> Iterator[str]:
    found: set[str] = set()
    for number, block in _blocks(body):
        if block["type"] == "web_search_tool_result" and isinstance(block["content"], list):
            found.update(result["url"] for result in block["content"])
        for citation in block.get("citations") or []:
            if citation["url"] not in found:
                yield f"messages.{number}: {citation['url']}"


@MESSAGES.rule("a native tool in the history is also offered")
def native_tools_are_offered(body: Body) -> Iterator[str]:
    offered = {tool["name"] for tool in body.get("tools") or [] if "type" in tool}
    for number, block in _blocks(body, "server_tool_use"):
        if not any(block["name"].endswith(name) for name in offered):
            yield f"messages.{number}: {block['name']}"


@MESSAGES.rule(f"{_TOOLS}: tool results come first in the content")
def results_come_first_in_a_message(body: Body) -> Iterator[str]:
    for number, message in enumerate(body["messages"]):
        kinds = [block["type"] == "tool_result" for _, block in _blocks({"messages": [message]})]
        if kinds != sorted(kinds, reverse=True):
            yield f"messages.{number}"


@MESSAGES.rule("maximhq/bifrost#5097; screenpipe/screenpipe#3252: ^[a-zA-Z0-9_-]+$")
def call_ids_fit(body: Body) -> Iterator[str]:
    for _, block in _blocks(body, "tool_use"):
        if not re.fullmatch(r"[a-zA-Z0-9_-]+", block["id"]):
            yield repr(block["id"])


@MESSAGES.rule("anthropics/claude-code#28515; NVIDIA-NeMo/Switchyard#502")
def call_ids_are_unique(body: Body) -> Iterator[str]:
    yield from duplicates(block["id"] for _, block in _blocks(body, "tool_use"))


@MESSAGES.rule(f"{_TOOLS}: ^[a-zA-Z0-9_-]{{1,64}}$")
def called_names_fit(body: Body) -> Iterator[str]:
    for _, block in _blocks(body, "tool_use"):
        if not TOOL_NAME.fullmatch(block["name"]):
            yield repr(block["name"])


@MESSAGES.rule(f"{_API}: tool_use.input is an object")
def arguments_are_an_object(body: Body) -> Iterator[str]:
    for _, block in _blocks(body, "tool_use"):
        if not isinstance(block["input"], dict):
            yield repr(block["input"])


@MESSAGES.rule(
    f"{_THINKING}; OnesoftQwQ/opencode-go-copilot#137: 'thinking.signature: Field required'"
)
def thinking_has_its_signature(body: Body) -> Iterator[str]:
    yield from (f"messages.{n}" for n, b in _blocks(body, "thinking") if not b.get("signature"))
    yield from (f"messages.{n}" for n, b in _blocks(body, "redacted_thinking") if not b.get("data"))


@MESSAGES.rule("tailcallhq/forgecode#2107; router-for-me/CLIProxyAPI#5321")
def no_answer_ends_with_thinking(body: Body) -> Iterator[str]:
    for number, message in enumerate(body["messages"]):
        if _last_kind(message) in {"thinking", "redacted_thinking"}:
            yield f"messages.{number}"


@MESSAGES.rule(f"{_THINKING}; n8n-io/n8n#22550")
def a_tool_loop_begins_with_thinking_if_it_is_enabled(body: Body) -> Iterator[str]:
    if (body.get("thinking") or {}).get("type") != "enabled" or len(body["messages"]) < 2:
        return
    *_, answer, results = body["messages"]
    if _ids(results, "tool_result", "tool_use_id"):
        first = next((block["type"] for _, block in _blocks({"messages": [answer]})), "nothing")
        if first not in {"thinking", "redacted_thinking"}:
            yield f"the last answer begins with {first}"


@MESSAGES.rule(f"{_VISION}; anthropics/claude-code#10612; home-assistant/core#167208")
def files_have_a_type_and_size_that_are_taken(body: Body) -> Iterator[str]:
    for number, block in _blocks(body):
        if block["type"] not in {"image", "document"}:
            continue
        source = block["source"]
        media_type, data = source["media_type"], base64.b64decode(source["data"], validate=True)
        if block["type"] == "image" and media_type in _IMAGES:
            if len(source["data"]) > _MAX_IMAGE_BASE64:
                yield f"messages.{number}: image of {len(data)} bytes, too large in base64"
            if any(data.startswith(s) for t, s in _IMAGES.items() if t != media_type):
                yield f"messages.{number}: image declared as {media_type}"
        elif (block["type"], media_type) != ("document", "application/pdf"):
            yield f"messages.{number}: {block['type']} of type {media_type}"


@MESSAGES.rule(_TOOLS)
def tools_have_names_and_object_schemas(body: Body) -> Iterator[str]:
    for tool in body.get("tools") or []:
        if not tool.get("type", "custom").startswith(tuple(_RESULTS)):
            yield from tool_schema_breaches(tool["name"], tool.get("input_schema"))
