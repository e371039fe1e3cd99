"""The wire formats of the providers: one answer as the server-sent events of each."""

import json
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, kw_only=True)
class ModelAnswer:
    """Answer of a model, in the pieces in which it arrives."""

    reasoning: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    tool_args: tuple[str, ...] = ()
    finish_reason: str = "stop"


class WireFormat(Protocol):
    @property
    def kind(self) -> str: ...

    @property
    def signature(self) -> str | None:
        """Return the signature that the provider expects back with its reasoning."""

    @property
    def trailing_event_count(self) -> int:
        """Return the number of events that carry or follow the finish reason."""

    def events(self, answer: ModelAnswer) -> list[bytes]:
        """Return the whole stream."""

    def error(self, message: str, code: str) -> bytes:
        """Return the body of a response with an error status."""


def _sse(data: dict[str, Any], event: str | None = None) -> bytes:
    name = f"event: {event}\n" if event else ""
    return f"{name}data: {json.dumps(data)}\n\n".encode()


class ChatCompletions:
    """OpenAI's Chat Completions, which compatible providers use too."""

    kind = "openai-compatible"
    signature = None
    trailing_event_count = 3

    def events(self, answer: ModelAnswer) -> list[bytes]:
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
        deltas += [{"reasoning_content": piece} for piece in answer.reasoning]
        deltas += [{"content": piece} for piece in answer.text]
        if answer.tool_args:
            call = {"index": 0, "id": "call_7", "type": "function"}
            function = {"name": "weather", "arguments": answer.tool_args[0]}
            deltas.append({"tool_calls": [{**call, "function": function}]})
            for piece in answer.tool_args[1:]:
                deltas.append({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
        reason = {"tool_call": "tool_calls"}.get(answer.finish_reason, answer.finish_reason)
        usage = {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}
        return [
            *(self._chunk({"delta": delta, "index": 0, "finish_reason": None}) for delta in deltas),
            self._chunk({"delta": {}, "index": 0, "finish_reason": reason}),
            self._chunk(usage=usage),
            b"data: [DONE]\n\n",
        ]

    def _chunk(self, *choices: dict[str, Any], usage: dict[str, Any] | None = None) -> bytes:
        head = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "fake"}
        return _sse({**head, "choices": choices, "usage": usage})

    def error(self, message: str, code: str) -> bytes:
        return json.dumps({"error": {"message": message, "type": code, "code": code}}).encode()


class OpenAIResponses:
    """OpenAI's own Responses API."""

    kind = "openai"
    signature = "opaque-bytes"
    trailing_event_count = 1

    def events(self, answer: ModelAnswer) -> list[bytes]:
        self._number = 0
        items: list[dict[str, Any]] = []
        out = [self._event("response.created", response=self._response("in_progress"))]
        if answer.reasoning:
            items.append(self._reasoning(out, answer.reasoning, len(items)))
        if answer.text:
            items.append(self._text(out, answer.text, len(items)))
        if answer.tool_args:
            items.append(self._call(out, answer.tool_args, len(items)))
        status, extra = "completed", {}
        if answer.finish_reason in ("length", "content_filter"):
            cause = {"length": "max_output_tokens"}.get(answer.finish_reason, answer.finish_reason)
            status, extra = "incomplete", {"incomplete_details": {"reason": cause}}
        usage = {
            "input_tokens": 11,
            "output_tokens": 5,
            "total_tokens": 16,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 0},
        }
        done = self._response(status, output=items, usage=usage, **extra)
        return [*out, self._event(f"response.{status}", response=done)]

    def _reasoning(self, out: list[bytes], pieces: tuple[str, ...], at: int) -> dict[str, Any]:
        item: dict[str, Any] = {"type": "reasoning", "id": "rs_1", "summary": []}
        out.append(self._event("response.output_item.added", output_index=at, item=item))
        where = {"item_id": "rs_1", "output_index": at, "summary_index": 0}
        empty = {"type": "summary_text", "text": ""}
        out.append(self._event("response.reasoning_summary_part.added", **where, part=empty))
        name = "response.reasoning_summary_text.delta"
        out += [self._event(name, **where, delta=piece) for piece in pieces]
        complete = {"type": "summary_text", "text": "".join(pieces)}
        item = {**item, "summary": [complete], "encrypted_content": self.signature}
        out.append(self._event("response.output_item.done", output_index=at, item=item))
        return item

    def _text(self, out: list[bytes], pieces: tuple[str, ...], at: int) -> dict[str, Any]:
        item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "in_progress"}
        added = {**item, "content": []}
        out.append(self._event("response.output_item.added", output_index=at, item=added))
        where = {"item_id": "msg_1", "output_index": at, "content_index": 0}
        empty = {"type": "output_text", "text": "", "annotations": []}
        out.append(self._event("response.content_part.added", **where, part=empty))
        for piece in pieces:
            event = self._event("response.output_text.delta", **where, delta=piece, logprobs=[])
            out.append(event)
        complete = {**empty, "text": "".join(pieces)}
        done = {**item, "status": "completed", "content": [complete]}
        out.append(self._event("response.output_item.done", output_index=at, item=done))
        return done

    def _call(self, out: list[bytes], pieces: tuple[str, ...], at: int) -> dict[str, Any]:
        item = {"type": "function_call", "id": "fc_1", "call_id": "call_7", "name": "weather"}
        added = {**item, "arguments": "", "status": "in_progress"}
        out.append(self._event("response.output_item.added", output_index=at, item=added))
        where = {"item_id": "fc_1", "output_index": at}
        name = "response.function_call_arguments.delta"
        out += [self._event(name, **where, delta=piece) for piece in pieces]
        done = {**item, "arguments": "".join(pieces), "status": "completed"}
        out.append(self._event("response.output_item.done", output_index=at, item=done))
        return done

    def _response(self, status: str, **more: Any) -> dict[str, Any]:
        head = {"id": "resp_1", "object": "response", "created_at": 1, "model": "fake"}
        rest = {"output": [], "parallel_tool_calls": True, "tool_choice": "auto", "tools": []}
        return {**head, **rest, "status": status, **more}

    def _event(self, name: str, **data: Any) -> bytes:
        self._number += 1
        return _sse({"type": name, "sequence_number": self._number, **data}, event=name)

    error = ChatCompletions.error


class AnthropicMessages:
    """Anthropic's Messages API."""

    kind = "anthropic"
    signature = "opaque-bytes"
    trailing_event_count = 2

    def events(self, answer: ModelAnswer) -> list[bytes]:
        message: dict[str, Any] = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "fake",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 11, "output_tokens": 1},
        }
        out = [self._event("message_start", message=message)]
        blocks: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
        if answer.reasoning:
            deltas = [{"type": "thinking_delta", "thinking": piece} for piece in answer.reasoning]
            deltas.append({"type": "signature_delta", "signature": self.signature})
            blocks.append(({"type": "thinking", "thinking": "", "signature": ""}, deltas))
        if answer.text:
            deltas = [{"type": "text_delta", "text": piece} for piece in answer.text]
            blocks.append(({"type": "text", "text": ""}, deltas))
        if answer.tool_args:
            deltas = [{"type": "input_json_delta", "partial_json": p} for p in answer.tool_args]
            begun = {"type": "tool_use", "id": "call_7", "name": "weather", "input": {}}
            blocks.append((begun, deltas))
        for index, (begun, deltas) in enumerate(blocks):
            out.append(self._event("content_block_start", index=index, content_block=begun))
            out.append(self._event("ping"))
            out += [self._event("content_block_delta", index=index, delta=d) for d in deltas]
            out.append(self._event("content_block_stop", index=index))
        reasons = {"stop": "end_turn", "length": "max_tokens", "tool_call": "tool_use"}
        delta = {"stop_reason": reasons[answer.finish_reason], "stop_sequence": None}
        out.append(self._event("message_delta", delta=delta, usage={"output_tokens": 5}))
        return [*out, self._event("message_stop")]

    def _event(self, name: str, **data: Any) -> bytes:
        return _sse({"type": name, **data}, event=name)

    def error(self, message: str, code: str) -> bytes:
        return json.dumps({"type": "error", "error": {"type": code, "message": message}}).encode()


WIRE_FORMATS: tuple[WireFormat, ...] = (ChatCompletions(), OpenAIResponses(), AnthropicMessages())
