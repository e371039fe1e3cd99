"""OpenAI's Responses API: events as OpenAI and compatible servers spell them."""

from collections.abc import Iterator, Mapping
from typing import Any

from chatd.llm.errors import InvalidProviderResponse
from chatd.llm.vendors.wire.record import AnswerRecord
from chatd.llm.vendors.wire.values import (
    arguments_text,
    identifier,
    integer,
    parse_event,
    provider_error,
    raise_error_in,
    sse_record,
    text_or_none,
)

_TEXT_DELTAS = frozenset(
    {
        "response.output_text.delta",
        "response.refusal.delta",
        "response.reasoning_summary_text.delta",
        "response.reasoning_text.delta",
        "response.function_call_arguments.delta",
        "response.code_interpreter_call_code.delta",
    }
)
_TEXTS_DONE: Mapping[str, str] = {
    "response.output_text.done": "text",
    "response.refusal.done": "refusal",
    "response.reasoning_summary_text.done": "text",
    "response.reasoning_text.done": "text",
    "response.function_call_arguments.done": "arguments",
}
_ITEMS = frozenset({"response.output_item.added", "response.output_item.done"})
_PASSED_ON = frozenset(
    {
        "response.content_part.added",
        "response.content_part.done",
        "response.reasoning_summary_part.added",
        "response.reasoning_summary_part.done",
        "response.output_text.annotation.added",
        "response.code_interpreter_call_code.done",
    }
)
_TERMINAL = frozenset(
    {
        "response.completed",
        "response.done",
        "response.incomplete",
        "response.failed",
        "response.cancelled",
    }
)
_NATIVE_ITEMS: Mapping[str, Mapping[str, Any]] = {
    "web_search_call": {"status": "completed"},
    "code_interpreter_call": {"status": "completed", "code": "", "container_id": "", "outputs": []},
}
"""Items of native tools, with what the SDK needs of them."""
_RESPONSE_DEFAULTS: Mapping[str, Any] = {
    "id": "answer",
    "object": "response",
    "created_at": 0,
    "model": "",
    "output": [],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
}


class Responses:
    """Normaliser of one stream of events, or of one whole response.

    The end and the usage are recorded here. Events that are no part of an answer are not passed on.
    """

    def __init__(self, record: AnswerRecord) -> None:
        self._record = record
        self._begun = False

    def events(self, name: str, data: bytes) -> Iterator[bytes]:
        """Yield the records of one event."""
        if data.startswith(b"[DONE]"):
            return  # a gateway's: the API ends with a terminal event
        event = parse_event(name, data)
        kind = event.get("type", name)
        if not isinstance(kind, str) or not kind:
            raise_error_in(event)
            return
        if kind in _TERMINAL:
            self._end(kind, event.get("response"))
        if kind in _TEXT_DELTAS:
            yield from self._start()
            yield self._text_delta(kind, event)
        elif kind in _TEXTS_DONE:
            yield from self._start()
            key = _TEXTS_DONE[kind]
            yield _record(kind, event, **{key: text_or_none(event.get(key), name=key) or ""})
        elif kind in _ITEMS:
            yield from self._start()
            yield _record(kind, event, item=_clean_item(event.get("item")))
        elif kind in _PASSED_ON:
            yield from self._start()
            yield _record(kind, event)
        elif kind in _TERMINAL or kind == "response.created":
            yield from self._start()

    def whole(self, body: object) -> Iterator[bytes]:
        """Yield the records of an answer that came as one JSON object."""
        if not isinstance(body, dict) or not isinstance(body.get("output"), list):
            raise_error_in(body)
            raise InvalidProviderResponse("it is no response")
        if body.get("error"):
            raise provider_error(body)
        yield from self._start()
        for index, item in enumerate(body["output"]):
            yield from _whole_item(index, _clean_item(item))
        self._end("response.completed", body)

    def _start(self) -> Iterator[bytes]:
        if self._begun:
            return
        self._begun = True
        response = {**_RESPONSE_DEFAULTS, "status": "in_progress"}
        yield _record("response.created", {}, response=response)

    def _text_delta(self, kind: str, event: Mapping[str, Any]) -> bytes:
        delta = event.get("delta")
        if kind == "response.refusal.delta":
            self._record.refused = True
        if kind == "response.function_call_arguments.delta":
            return _record(kind, event, delta=arguments_text(delta))
        return _record(kind, event, delta=text_or_none(delta, name="a delta") or "")

    def _end(self, kind: str, response: object) -> None:
        response = response if isinstance(response, Mapping) else {}
        self._record.usage.add_response(response.get("usage"))
        if response.get("error"):
            raise provider_error(response)
        details = response.get("incomplete_details")
        reason = details.get("reason") if isinstance(details, Mapping) else None
        status = response.get("status")
        if kind == "response.incomplete" or status == "incomplete":
            self._record.end(reason if isinstance(reason, str) and reason else "length")
        elif kind in ("response.failed", "response.cancelled"):
            self._record.end("failed")
        else:
            self._record.end(status if isinstance(status, str) and status else "completed")
        self._record.terminated = True


def _clean_item(item: object) -> dict[str, Any]:
    if not isinstance(item, Mapping) or not isinstance(item.get("type"), str):
        raise InvalidProviderResponse("an item of the output has no type")
    clean = dict(item)
    if (item_id := identifier(item.get("id"))) is not None:
        clean["id"] = item_id
    if item["type"] == "function_call":
        if not isinstance(item.get("name"), str):
            raise InvalidProviderResponse("a tool call has no name")
        clean["call_id"] = identifier(item.get("call_id")) or item_id or ""
        clean["arguments"] = arguments_text(item.get("arguments"))
    for key, default in _NATIVE_ITEMS.get(item["type"], {}).items():
        clean[key] = item.get(key) or default
    return clean


def _whole_item(index: int, item: dict[str, Any]) -> Iterator[bytes]:
    """Yield the events of an item that came at once."""
    where = {"output_index": index, "item_id": item.setdefault("id", f"item_{index}")}
    yield _record("response.output_item.added", where, item={**item, "content": []})
    parts = item.get("content")
    for at, part in enumerate(parts if isinstance(parts, list) else ()):
        text = part.get("text", part.get("refusal")) if isinstance(part, Mapping) else None
        if isinstance(text, str):
            content = {**where, "content_index": at, "logprobs": []}
            yield _record("response.output_text.delta", content, delta=text)
    yield _record("response.output_item.done", where, item=item)


def _record(kind: str, event: Mapping[str, Any], **fields: Any) -> bytes:
    clean = {**event, **fields, "type": kind}
    for key in ("output_index", "content_index", "summary_index", "sequence_number"):
        clean[key] = integer(event.get(key)) or 0
    if "item_id" in event:
        clean["item_id"] = identifier(event["item_id"]) or ""
    return sse_record(clean, name=kind)
