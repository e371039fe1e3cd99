"""Decoder: pydantic-ai's stream events → our deltas. Imported late."""

import json
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import structlog
from pydantic_ai.messages import (
    FilePart,
    ModelResponsePart,
    ModelResponsePartDelta,
    ModelResponseStreamEvent,
    NativeToolCallPart,
    NativeToolReturnPart,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    ThinkingPart,
    ThinkingPartDelta,
    ToolCallPart,
    ToolCallPartDelta,
)
from pydantic_ai.models import StreamedResponse
from pydantic_core import to_jsonable_python

from chatd.domain.errors import ChatdError
from chatd.llm.errors import InvalidProviderResponse
from chatd.llm.failures.table import kind_for_exception
from chatd.llm.native_tools import MAX_STATE_BYTES, is_error_result, shown_result
from chatd.llm.provider import Delta, Finished, PartDelta
from chatd.llm.vendors.wire.record import AnswerRecord

_log = structlog.get_logger()

_NATIVE_CALL = "builtin-tool-call"
_PART_TYPES: Mapping[str, str] = {
    "text": "text",
    "thinking": "reasoning",
    "tool-call": "tool-call",
    _NATIVE_CALL: "native-tool-call",
    "builtin-tool-return": "native-tool-result",
}
"""Our types of the parts that may have state, by the kind that pydantic-ai gives them."""
_MAX_NATIVE_ID_LENGTH = 200
"""Most characters of the id of a native call that clients see, as many as other calls have."""


@contextmanager
def translate_provider_errors(record: AnswerRecord) -> Iterator[None]:
    """Turn any exception into a failure of the provider, once a response has arrived.

    From then on nothing but what the provider sent makes an SDK or the decoder raise. An exception that
    ``classify`` knows passes through.
    """
    try:
        yield
    except Exception as error:
        known = isinstance(error, ChatdError | OSError) or kind_for_exception(error) is not None
        if known or not record.responded:
            raise
        _log.warning("llm.answer_unreadable", error=type(error).__name__)
        raise InvalidProviderResponse from error


async def decode_stream(
    response: StreamedResponse, record: AnswerRecord, *, provider: str
) -> AsyncGenerator[Delta]:
    """Read the stream to its end. Yield ``Finished`` only if the answer ended.

    ``provider`` is the configured name of the provider, to which the state of the parts belongs.
    """
    decoder = EventDecoder()
    with translate_provider_errors(record):
        async for event in response:
            for delta in decoder.decode(event):
                yield delta
        last = decoder.finished(record)
        if last is None:
            return
        for state in decoder.provider_states(response, provider=provider):
            yield state
    yield last


class EventDecoder:
    """Decoder of one stream. It records which parts were started, so that each piece is passed on once."""

    def __init__(self) -> None:
        self._started_parts: dict[int, str] = {}

    def decode(self, event: ModelResponseStreamEvent) -> Iterator[PartDelta]:
        """Yield the deltas of one event."""
        match event:
            case PartStartEvent(index=index, part=part):
                if index in self._started_parts:  # repeats parts that were streamed before
                    _log.debug("llm.part_restated", index=index, part_kind=part.part_kind)
                    return
                self._started_parts[index] = part.part_kind
                if (first := _first_delta(part)) is not None:
                    yield PartDelta({"index": index, **first})
                else:
                    _log.warning("llm.part_ignored", index=index, part_kind=part.part_kind)
            case PartDeltaEvent(index=index, delta=delta):
                if (piece := _next_delta(delta)) is not None:
                    native = self._started_parts.get(index) == _NATIVE_CALL
                    kind = {"type": "native-tool-call"} if native else {}
                    yield PartDelta({"index": index, **piece, **kind})
            case _:
                return

    def finished(self, record: AnswerRecord) -> Finished | None:
        """Return the end of the answer. None: it was cut off. Raise if the provider says that it failed."""
        if (ending := record.ending()) is None:
            return None
        has_calls = "tool-call" in self._started_parts.values()
        # The Responses API reports every regular end as "completed", and some servers send "stop".
        reason = "tool_call" if ending.reason == "stop" and has_calls else ending.reason
        return Finished(reason, record.usage.total())

    def provider_states(self, response: StreamedResponse, *, provider: str) -> Iterator[PartDelta]:
        """Yield the state of every part that the provider wants back with it.

        It is read from the finished response: OpenAI sends ``encrypted_content`` of a reasoning item after
        the end of its parts. So a response that was cut has no state, which no provider would take.
        """
        native_bytes = 0
        for index, part in enumerate(response.get().parts):
            if self._started_parts.get(index) == part.part_kind:
                state = _provider_state(part)
                if isinstance(part, NativeToolReturnPart):
                    native_bytes += len(json.dumps(state))
                if state and native_bytes <= MAX_STATE_BYTES:
                    kind = _PART_TYPES[part.part_kind]
                    state = {"name": provider, **state}
                    yield PartDelta({"index": index, "type": kind, "provider": state})


def _first_delta(part: ModelResponsePart) -> dict[str, Any] | None:
    match part:
        case TextPart():
            return {"type": "text", "text": _text(part.content)}
        case ThinkingPart():
            return {"type": "reasoning", "text": _text(part.content)}
        case ToolCallPart():
            return {
                "type": "tool-call",
                "tool_call_id": _text(part.tool_call_id),
                "tool_name": _text(part.tool_name),
                "args": _args(part.args),
            }
        case NativeToolCallPart():
            return {
                "type": "native-tool-call",
                "tool_call_id": _text(part.tool_call_id)[:_MAX_NATIVE_ID_LENGTH],
                "tool_name": _text(part.tool_name),
                "args": _args(part.args),
            }
        case NativeToolReturnPart():
            content = to_jsonable_python(part.content)
            return {
                "type": "native-tool-result",
                "tool_call_id": _text(part.tool_call_id)[:_MAX_NATIVE_ID_LENGTH],
                "tool_name": _text(part.tool_name),
                "result": shown_result(content),
                "is_error": is_error_result(content),
            }
        case FilePart():
            file = part.content
            return {"type": "file", "media_type": _text(file.media_type), "data": file.data}
        case _:
            return None


def _next_delta(delta: ModelResponsePartDelta) -> dict[str, Any] | None:
    match delta:
        case TextPartDelta() if delta.content_delta:
            return {"type": "text", "text": _text(delta.content_delta)}
        case ThinkingPartDelta() if delta.content_delta:
            return {"type": "reasoning", "text": _text(delta.content_delta)}
        case ToolCallPartDelta() if delta.args_delta:
            return {"type": "tool-call", "args": _args(delta.args_delta)}
        case _:
            return None


def _text(value: object) -> str:
    """Return a text. The SDKs pass on what they were sent, whatever its type."""
    if not isinstance(value, str):
        raise InvalidProviderResponse("a text is none")
    return value


def _args(args: str | Mapping[str, Any] | None) -> str:
    return args if isinstance(args, str) else json.dumps(args) if args else ""


def _provider_state(part: ModelResponsePart) -> dict[str, Any]:
    """Return the state that the provider wants back with this part. Empty: there is none."""
    if part.part_kind not in _PART_TYPES or not getattr(part, "provider_name", None):
        return {}
    state: dict[str, Any] = {}
    match part:
        case NativeToolCallPart():
            state["id"] = part.tool_call_id
        case NativeToolReturnPart():
            state["id"], state["content"] = part.tool_call_id, to_jsonable_python(part.content)
        case TextPart() | ThinkingPart() | ToolCallPart() if part.id:
            state["id"] = part.id
    if isinstance(part, ThinkingPart) and part.signature:
        state["signature"] = part.signature
    if details := getattr(part, "provider_details", None):
        state["details"] = to_jsonable_python(details)
    return state
