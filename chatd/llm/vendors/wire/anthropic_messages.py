"""Anthropic's Messages API: events as Anthropic and compatible gateways spell them."""

from collections.abc import Iterator, Mapping
from typing import Any

from chatd.llm.errors import InvalidProviderResponse
from chatd.llm.vendors.wire.record import AnswerRecord
from chatd.llm.vendors.wire.values import (
    arguments_text,
    identifier,
    integer,
    parse_event,
    raise_error_in,
    sse_record,
    text_or_none,
)

_BLOCK_TEXTS: Mapping[str, tuple[str, ...]] = {
    "text": ("text",),
    "thinking": ("thinking", "signature"),
    "redacted_thinking": ("data",),
}
_DELTA_TEXTS: Mapping[str, str] = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "signature",
    "input_json_delta": "partial_json",
}


class AnthropicMessages:
    """Normaliser of one stream of events, or of one whole message.

    Blocks are numbered anew, since some gateways give all of them one index. The end and the usage are
    recorded here, so ``message_delta`` and ``message_stop`` are not passed on.
    """

    def __init__(self, record: AnswerRecord) -> None:
        self._record = record
        self._blocks: dict[int | None, int] = {}
        self._block_count = 0
        self._begun = False

    def events(self, name: str, data: bytes) -> Iterator[bytes]:
        """Yield the records of one event."""
        if data.startswith(b"[DONE]"):
            return  # a gateway's: Anthropic ends with message_stop
        event = parse_event(name, data)
        match event.get("type", name):
            case "message_start":
                message = event.get("message")
                self._record.usage.add_anthropic(_mapping(message).get("usage"))
                yield from self._start()
            case "content_block_start":
                yield from self._start()
                yield self._block_start(event.get("index"), event.get("content_block"))
            case "content_block_delta":
                yield from self._start()
                yield from self._block_delta(event.get("index"), event.get("delta"))
            case "content_block_stop":
                if (number := self._blocks.get(integer(event.get("index")))) is not None:
                    yield _record("content_block_stop", index=number)
            case "message_delta":
                self._record.end(_mapping(event.get("delta")).get("stop_reason"))
                self._record.usage.add_anthropic(event.get("usage"))
            case "message_stop":
                self._record.terminated = True
            case None | "":
                raise_error_in(event)
            case _:
                pass  # a ping, or an event of a later version

    def whole(self, body: object) -> Iterator[bytes]:
        """Yield the records of an answer that came as one JSON object."""
        if not isinstance(body, dict) or not isinstance(body.get("content"), list):
            raise_error_in(body)
            raise InvalidProviderResponse("it is no message")
        self._record.usage.add_anthropic(body.get("usage"))
        yield from self._start()
        for index, block in enumerate(body["content"]):
            yield self._block_start(index, block)
            yield _record("content_block_stop", index=self._blocks[index])
        self._record.end(body.get("stop_reason"))
        self._record.terminated = True

    def _start(self) -> Iterator[bytes]:
        if self._begun:
            return
        self._begun = True
        usage = {"input_tokens": 0, "output_tokens": 0}
        message = {
            "id": "answer",
            "type": "message",
            "role": "assistant",
            "model": "",
            "content": [],
        }
        yield _record("message_start", message={**message, "usage": usage})

    def _block_start(self, index: object, block: object) -> bytes:
        block = _mapping(block)
        kind = block.get("type")
        clean = dict(block)
        for key in _BLOCK_TEXTS.get(kind if isinstance(kind, str) else "", ()):
            clean[key] = text_or_none(block.get(key), name=key) or ""
        if kind == "tool_use":
            if not isinstance(block.get("name"), str):
                raise InvalidProviderResponse("a tool call has no name")
            given = block.get("input")
            clean["id"] = identifier(block.get("id")) or ""
            clean["input"] = given if isinstance(given, Mapping) else {}
        self._blocks[integer(index)] = number = self._block_count
        self._block_count += 1
        return _record("content_block_start", index=number, content_block=clean)

    def _block_delta(self, index: object, delta: object) -> Iterator[bytes]:
        delta = _mapping(delta)
        kind = delta.get("type")
        if not isinstance(kind, str):
            raise InvalidProviderResponse("a delta has no type")
        clean = dict(delta)
        if (key := _DELTA_TEXTS.get(kind)) is not None:
            value = delta.get(key)
            as_text = arguments_text if key == "partial_json" else _text
            clean[key] = as_text(value)
        number = self._blocks.get(integer(index))
        if number is None:
            if kind != "text_delta":
                raise InvalidProviderResponse("a delta of a content block that did not start")
            yield self._block_start(index, {"type": "text", "text": ""})
            number = self._blocks[integer(index)]
        yield _record("content_block_delta", index=number, delta=clean)


def _text(value: object) -> str:
    return text_or_none(value, name="a delta") or ""


def _mapping(value: object) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidProviderResponse("a part of an event is no object")
    return value


def _record(name: str, **fields: Any) -> bytes:
    return sse_record({"type": name, **fields}, name=name)
