"""Decoder: pydantic-ai's stream events → our deltas. Imported late."""

import json
from collections.abc import AsyncGenerator, Iterator, Mapping
from typing import Any

import structlog
from pydantic_ai.exceptions import ModelConnectionError
from pydantic_ai.messages import (
    FilePart,
    ModelResponsePart,
    ModelResponsePartDelta,
    ModelResponseStreamEvent,
    PartDeltaEvent,
    PartEndEvent,
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

from chatd.domain.chat import Usage
from chatd.llm.errors import InvalidProviderResponse, ProviderError
from chatd.llm.provider import Delta, Finished, PartDelta

_log = structlog.get_logger()

SDK_PARSE_ERRORS = (AttributeError, TypeError, LookupError, ValueError, AssertionError)
"""Exceptions an SDK raises if a response is valid JSON but violates the provider's schema."""


async def decode_stream(response: StreamedResponse) -> AsyncGenerator[Delta]:
    """Read the stream to its end. Yield ``Finished`` only if the provider sent a finish reason."""
    decoder = EventDecoder()
    events = aiter(response)
    while True:
        try:
            event = await anext(events)
        except StopAsyncIteration:
            break
        except ModelConnectionError:
            if _raw_finish_reason(response) is None:
                raise
            break  # the response is complete; only the last message was lost
        except SDK_PARSE_ERRORS as error:
            raise InvalidProviderResponse from error
        for delta in decoder.decode(event):
            yield delta
    for last in decoder.finish(response):
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
                    yield PartDelta({"index": index, **piece})
            case PartEndEvent(index=index, part=part):
                if (provider := _provider_data(part)) is not None:
                    yield PartDelta({"index": index, **provider})
            case _:
                return

    def finish(self, response: StreamedResponse) -> Iterator[Delta]:
        """Yield what follows the last event: a refusal, and ``Finished`` if there is a reason."""
        refusal = (response.provider_details or {}).get("refusal")
        if refusal:
            yield PartDelta({"index": len(self._started_parts), "type": "text", "text": refusal})
        reason = response.finish_reason or _raw_finish_reason(response)
        if reason is None or not (refusal or _raw_finish_reason(response)):
            return
        if reason == "error":
            raise ProviderError("The model ended its response with an error.")
        if reason == "stop" and "tool-call" in self._started_parts.values():
            reason = "tool_call"  # the Responses API reports every regular end as "completed"
        yield Finished(reason, _usage(response))


def _raw_finish_reason(response: StreamedResponse) -> str | None:
    """Return the finish reason as the provider sent it. pydantic-ai's own may be a default."""
    reason: str | None = (response.provider_details or {}).get("finish_reason")
    return reason


def _first_delta(part: ModelResponsePart) -> dict[str, Any] | None:
    match part:
        case TextPart():
            return {"type": "text", "text": part.content}
        case ThinkingPart():
            return {"type": "reasoning", "text": part.content}
        case ToolCallPart():
            return {
                "type": "tool-call",
                "tool_call_id": part.tool_call_id,
                "tool_name": part.tool_name,
                "args": _args(part.args),
            }
        case FilePart():
            data = part.content.base64
            return {"type": "file", "media_type": part.content.media_type, "data": data}
        case _:
            return None


def _next_delta(delta: ModelResponsePartDelta) -> dict[str, Any] | None:
    match delta:
        case TextPartDelta() if delta.content_delta:
            return {"type": "text", "text": delta.content_delta}
        case ThinkingPartDelta() if delta.content_delta:
            return {"type": "reasoning", "text": delta.content_delta}
        case ToolCallPartDelta() if delta.args_delta:
            return {"type": "tool-call", "args": _args(delta.args_delta)}
        case _:
            return None


def _args(args: str | Mapping[str, Any] | None) -> str:
    return args if isinstance(args, str) else json.dumps(args) if args else ""


def _provider_data(part: ModelResponsePart) -> dict[str, Any] | None:
    """Return the data that the provider wants back with this part, once the part is complete."""
    if not isinstance(part, TextPart | ThinkingPart | ToolCallPart) or not part.provider_name:
        return None
    provider: dict[str, Any] = {"name": part.provider_name}
    if part.id:
        provider["id"] = part.id
    if isinstance(part, ThinkingPart) and part.signature:
        provider["signature"] = part.signature
    if part.provider_details:
        provider["details"] = to_jsonable_python(part.provider_details)
    kind = {"text": "text", "thinking": "reasoning", "tool-call": "tool-call"}[part.part_kind]
    return {"type": kind, "provider": provider}


def _usage(response: StreamedResponse) -> Usage:
    usage = response.usage
    return Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        reasoning_tokens=usage.details.get("reasoning_tokens", 0),
    )
