"""Chat Completions: chunks as OpenAI and the compatible servers spell them."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from chatd.llm.errors import InvalidProviderResponse
from chatd.llm.vendors.wire.record import AnswerRecord
from chatd.llm.vendors.wire.tool_calls import ToolCallNumbers
from chatd.llm.vendors.wire.values import parse_event, raise_error_in, text_or_none

_PREFIX = (
    b'data: {"id":"answer","object":"chat.completion.chunk","created":0,'
    b'"choices":[{"index":0,"finish_reason":null,"delta":'
)
_SUFFIX = b"}]}\n\n"
_REASONING_KEYS = ("reasoning_content", "reasoning", "reasoning_text", "thinking")
"""Fields of a delta that hold reasoning. Some servers send the same text in two of them."""


class ChatCompletions:
    """Normaliser of one stream of chunks, or of one whole chat completion."""

    def __init__(self, record: AnswerRecord) -> None:
        self._record = record
        self._calls = ToolCallNumbers()
        self._begun = False
        self._has_content = False

    def events(self, name: str, data: bytes) -> Iterator[bytes]:
        """Yield the records of one event."""
        if data.startswith((b"[DONE]", b'"[DONE]"')):
            self._record.terminated = not self._calls.is_open or self._record.ended
            return
        yield from self._chunk(parse_event(name, data))

    def whole(self, body: object) -> Iterator[bytes]:
        """Yield the records of an answer that came as one JSON object."""
        if not isinstance(body, dict) or not isinstance(body.get("choices"), list):
            raise_error_in(body)
            raise InvalidProviderResponse("it is no chat completion")
        yield from self._chunk(body)
        self._record.terminated = True

    def _chunk(self, chunk: Mapping[str, Any]) -> Iterator[bytes]:
        self._record.usage.add_chat_completion(chunk.get("usage"))
        if isinstance(groq := chunk.get("x_groq"), Mapping):
            self._record.usage.add_chat_completion(groq.get("usage"))
        choices = chunk.get("choices")
        if not choices:
            if "choices" not in chunk and "usage" not in chunk:
                raise_error_in(chunk)
        elif not isinstance(choices, list) or not isinstance(choices[0], Mapping):
            raise InvalidProviderResponse("choices is no list of objects")
        else:
            yield from self._choice(choices[0])

    def _choice(self, choice: Mapping[str, Any]) -> Iterator[bytes]:
        delta = choice.get("delta")
        if not isinstance(delta, Mapping) or not delta:
            message = choice.get("message")  # a whole completion, or the last chunk of some servers
            delta = message if isinstance(message, Mapping) and not self._has_content else {}
        clean = self._clean(delta)
        self._record.usage.add_chat_completion(choice.get("usage"))
        self._record.end(choice.get("finish_reason"))
        if clean or not self._begun:
            self._begun = True
            self._has_content = self._has_content or bool(clean)
            yield _PREFIX + json.dumps(clean, separators=(",", ":")).encode() + _SUFFIX

    def _clean(self, delta: Mapping[str, Any]) -> dict[str, Any]:
        clean: dict[str, Any] = {}
        content, reasoning = _split_content(delta.get("content"))
        if isinstance(refusal := delta.get("refusal"), str) and refusal:
            self._record.refused = True
            content += refusal
        if content:
            clean["content"] = content
        for key in _REASONING_KEYS:
            if not reasoning:
                value = delta.get(key)
                reasoning = value if isinstance(value, str) else ""
        if reasoning:
            clean["reasoning_content"] = reasoning
        if calls := delta.get("tool_calls"):
            clean["tool_calls"] = list(self._calls.pieces(calls))
        elif isinstance(function := delta.get("function_call"), Mapping):
            clean["tool_calls"] = list(self._calls.pieces([{"index": 0, "function": function}]))
        if isinstance(annotations := delta.get("annotations"), list):
            clean["annotations"] = [item for item in annotations if isinstance(item, Mapping)]
        return clean


def _split_content(content: object) -> tuple[str, str]:
    """Return the text and the reasoning of a content, which some servers send as a list of parts."""
    if not isinstance(content, list):
        return text_or_none(content, name="the content") or "", ""
    texts: dict[str, str] = {"text": "", "thinking": ""}
    for part in content:
        if isinstance(part, Mapping) and (kind := part.get("type")) in texts:
            value = part.get(kind)
            texts[kind] += _split_content(value)[0] if isinstance(value, list) else str(value or "")
        elif isinstance(part, str):
            texts["text"] += part
    return texts["text"], texts["thinking"]
