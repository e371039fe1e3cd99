"""Items of a response's output."""

from collections.abc import Mapping, Sequence
from typing import Any

from chatd.domain.message import Part

Item = dict[str, Any]


def text_content(text: str, annotations: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """Return the content of a message's item."""
    return {
        "type": "output_text",
        "text": text,
        "annotations": list(annotations),
        "logprobs": [],
    }


def message_item(
    item_id: str,
    text: str | None,
    status: str,
    annotations: Sequence[Mapping[str, Any]] = (),
) -> Item:
    """Return the item of a text. With None it has no content yet."""
    content = [] if text is None else [text_content(text, annotations)]
    return {
        "id": item_id,
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": content,
    }


def reasoning_content(text: str) -> dict[str, Any]:
    """Return the content of a reasoning item."""
    return {"type": "reasoning_text", "text": text}


def reasoning_item(item_id: str, text: str | None, status: str) -> Item:
    """Return the item of a model's reasoning. With None it has no content yet."""
    content = [] if text is None else [reasoning_content(text)]
    return {"id": item_id, "type": "reasoning", "summary": [], "content": content, "status": status}


def function_call_item(item_id: str, call: Part, status: str, *, args: str | None = None) -> Item:
    """Return the item of a call that the client runs, with other ``args`` than the call's if given."""
    return {
        "id": item_id,
        "type": "function_call",
        "call_id": call["tool_call_id"],
        "name": call["tool_name"],
        "arguments": (call["args"] or "{}") if args is None else args,
        "status": status,
    }


def approval_request_item(item_id: str, call: Part) -> Item:
    """Return the item that asks whether the server may run a call."""
    server, separator, _ = call["tool_name"].partition("__")
    return {
        "id": item_id,
        "type": "mcp_approval_request",
        "name": call["tool_name"],
        "arguments": call["args"] or "{}",
        "server_label": server if separator else "chatd",
    }


def url_citation(source: Part) -> dict[str, Any] | None:
    """Return a source as an annotation. None: it has no address."""
    if not source.get("url"):
        return None
    return {
        "type": "url_citation",
        "url": source["url"],
        "title": source.get("title") or source["url"],
        "start_index": 0,
        "end_index": 0,
    }
