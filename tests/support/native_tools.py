"""Answers with native tools, event by event as the providers send them."""

import json
from typing import Any

ENCRYPTED = "EroTCioIBxgCIiQ0NGFl"
"""Content of a search result that only Anthropic can read."""

SEARCH_RESULTS = [
    {
        "type": "web_search_result",
        "title": "Weather in Graz",
        "url": "https://weather.example/graz",
        "encrypted_content": ENCRYPTED,
        "page_age": "6 days ago",
    }
]
CITATION = {
    "type": "web_search_result_location",
    "cited_text": "Sunny, 21 degrees.",
    "url": "https://weather.example/graz",
    "title": "Weather in Graz",
    "encrypted_index": "Eo8BCioIBxgCIiQ0",
}


def sse(*events: dict[str, Any]) -> bytes:
    return b"".join(
        f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events
    )


def claude(*blocks: list[dict[str, Any]], reason: str = "end_turn") -> bytes:
    """Return an answer of Anthropic with these blocks, each with its start and its deltas."""
    usage = {"input_tokens": 3, "output_tokens": 1}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": []}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**message, "stop_reason": None, "usage": usage}}
    ]
    for index, (start, *deltas) in enumerate(blocks):
        where = {"index": index}
        events.append({"type": "content_block_start", **where, "content_block": start})
        events += [{"type": "content_block_delta", **where, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", **where})
    stop = {"stop_reason": reason, "stop_sequence": None}
    used = {"output_tokens": 9, "server_tool_use": {"web_search_requests": 1}}
    events.append({"type": "message_delta", "delta": stop, "usage": used})
    return sse(*events, {"type": "message_stop"})


def claude_text(text: str, **delta: Any) -> list[dict[str, Any]]:
    """Return a text block, with a citation if one is given."""
    start = {"type": "text", "text": ""}
    cited = [{"type": "citations_delta", "citation": c} for c in delta.values()]
    return [start, *cited, {"type": "text_delta", "text": text}]


def claude_thinking(text: str) -> list[dict[str, Any]]:
    return [
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "thinking_delta", "thinking": text},
        {"type": "signature_delta", "signature": "sealed"},
    ]


def server_tool_use(
    id_: str = "srvtoolu_1", name: str = "web_search", given: str = '{"query": "weather Graz"}'
) -> list[dict[str, Any]]:
    pieces = [{"type": "input_json_delta", "partial_json": p} for p in ("", given[:9], given[9:])]
    return [{"type": "server_tool_use", "id": id_, "name": name, "input": {}}, *pieces]


def search_result(id_: str = "srvtoolu_1", content: Any = SEARCH_RESULTS) -> list[dict[str, Any]]:
    return [{"type": "web_search_tool_result", "tool_use_id": id_, "content": content}]


def bash_result(id_: str) -> list[dict[str, Any]]:
    output = {"stdout": "4\n", "stderr": "", "return_code": 0, "content": []}
    content = {"type": "bash_code_execution_result", **output}
    return [{"type": "bash_code_execution_tool_result", "tool_use_id": id_, "content": content}]


def tool_use(id_: str = "toolu_1", name: str = "weather") -> list[dict[str, Any]]:
    start = {"type": "tool_use", "id": id_, "name": name, "input": {}}
    return [start, {"type": "input_json_delta", "partial_json": "{}"}]


def openai(*items: list[dict[str, Any]], output: list[dict[str, Any]]) -> bytes:
    """Return an answer of OpenAI whose items have these events, and which ends with ``output``."""
    head = {"id": "resp_1", "object": "response", "created_at": 1, "model": "gpt-5-2025-08-07"}
    rest = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "error": None}
    usage = {"input_tokens": 3, "output_tokens": 9, "total_tokens": 12}
    begun = {**head, **rest, "status": "in_progress", "output": []}
    done = {**head, **rest, "status": "completed", "output": output, "usage": usage}
    events: list[dict[str, Any]] = [{"type": "response.created", "response": begun}]
    for index, item in enumerate(items):
        events += [{"output_index": index, **event} for event in item]
    events.append({"type": "response.completed", "response": done})
    return sse(*({**event, "sequence_number": n} for n, event in enumerate(events)))


def _item(
    begun: dict[str, Any], done: dict[str, Any], *events: dict[str, Any]
) -> list[dict[str, Any]]:
    between = [{"item_id": done["id"], **event} for event in events]
    return [
        {"type": "response.output_item.added", "item": begun},
        *between,
        {"type": "response.output_item.done", "item": done},
    ]


SEARCH = {"type": "search", "query": "weather Graz"}


def openai_search(
    id_: str = "ws_1", action: dict[str, Any] | None = SEARCH
) -> list[dict[str, Any]]:
    item = {"id": id_, "type": "web_search_call"}
    begun = {**item, "status": "in_progress", "action": action and {"type": "search"}}
    name = "response.web_search_call"
    states = [{"type": f"{name}.{state}"} for state in ("in_progress", "searching", "completed")]
    return _item(begun, {**item, "status": "completed", "action": action}, *states)


def openai_reasoning(id_: str = "rs_1") -> list[dict[str, Any]]:
    item = {"id": id_, "type": "reasoning", "summary": []}
    return _item(item, {**item, "encrypted_content": "sealed"})


def openai_code(id_: str = "ci_1", container_id: str = "cntr_1") -> list[dict[str, Any]]:
    item = {"id": id_, "type": "code_interpreter_call", "container_id": container_id}
    name = "response.code_interpreter_call"
    return _item(
        {**item, "status": "in_progress", "code": "", "outputs": []},
        {**item, "status": "completed", "code": 'print("4")', "outputs": None},
        {"type": f"{name}.in_progress"},
        {"type": f"{name}_code.delta", "delta": "print("},
        {"type": f"{name}_code.delta", "delta": '"4")'},
        {"type": f"{name}_code.done", "code": 'print("4")'},
        {"type": f"{name}.interpreting"},
        {"type": f"{name}.completed"},
    )


def openai_text(text: str, id_: str = "msg_1") -> list[dict[str, Any]]:
    item = {"id": id_, "type": "message", "role": "assistant"}
    part = {"type": "output_text", "text": text, "annotations": []}
    where = {"content_index": 0}
    citation = {
        "type": "url_citation",
        "start_index": 0,
        "end_index": len(text),
        "title": "Weather in Graz",
        "url": "https://weather.example/graz",
    }
    return _item(
        {**item, "status": "in_progress", "content": []},
        {**item, "status": "completed", "content": [{**part, "annotations": [citation]}]},
        {"type": "response.content_part.added", **where, "part": {**part, "text": ""}},
        {"type": "response.output_text.delta", **where, "delta": text, "logprobs": []},
        {
            "type": "response.output_text.annotation.added",
            **where,
            "annotation_index": 0,
            "annotation": citation,
        },
        {"type": "response.output_text.done", **where, "text": text, "logprobs": []},
    )


def openai_call(id_: str = "fc_1", call_id: str = "call_1") -> list[dict[str, Any]]:
    item = {"id": id_, "type": "function_call", "call_id": call_id, "name": "weather"}
    return _item(
        {**item, "arguments": "", "status": "in_progress"},
        {**item, "arguments": "{}", "status": "completed"},
        {"type": "response.function_call_arguments.delta", "delta": "{}"},
        {"type": "response.function_call_arguments.done", "arguments": "{}"},
    )


def openai_answer(*items: list[dict[str, Any]]) -> bytes:
    """Return an answer of OpenAI with these items."""
    return openai(*items, output=[item[-1]["item"] for item in items])
