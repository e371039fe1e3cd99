"""A vendor's stream, as pydantic-ai tells it, turned into our deltas. Imported late."""

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
from chatd.llm.errors import Garbled, ProviderError
from chatd.llm.provider import Delta, Finished, Fragment

_log = structlog.get_logger()

CHOKED = (AttributeError, TypeError, LookupError, ValueError, AssertionError)
"""How a vendor's library stumbles over well-formed JSON that is not what the protocol says."""


async def deltas(answer: StreamedResponse) -> AsyncGenerator[Delta]:
    """Read the stream to its end; yield ``Finished`` only if the vendor gave a reason to stop."""
    reader = Reader()
    events = aiter(answer)
    while True:
        try:
            event = await anext(events)
        except StopAsyncIteration:
            break
        except ModelConnectionError:
            if _raw_reason(answer) is None:
                raise
            break  # the answer is whole; only the farewell was lost
        except CHOKED as error:
            raise Garbled from error
        for fragment in reader.read(event):
            yield fragment
    for delta in reader.end(answer):
        yield delta


class Reader:
    """Remembers which parts were begun, so that each piece is passed on once."""

    def __init__(self) -> None:
        self._begun: dict[int, str] = {}

    def read(self, event: ModelResponseStreamEvent) -> Iterator[Fragment]:
        match event:
            case PartStartEvent(index=index, part=part):
                if index in self._begun:  # a vendor restates what was streamed; the pieces stand
                    _log.debug("llm.part_restated", index=index, part_kind=part.part_kind)
                    return
                self._begun[index] = part.part_kind
                if (begun := _begin(part)) is not None:
                    yield Fragment({"index": index, **begun})
                else:
                    _log.warning("llm.part_ignored", index=index, part_kind=part.part_kind)
            case PartDeltaEvent(index=index, delta=delta):
                if (piece := _piece(delta)) is not None:
                    yield Fragment({"index": index, **piece})
            case PartEndEvent(index=index, part=part):
                if (kept := _kept(part)) is not None:
                    yield Fragment({"index": index, **kept})
            case _:
                return

    def end(self, answer: StreamedResponse) -> Iterator[Delta]:
        refusal = (answer.provider_details or {}).get("refusal")
        if refusal:
            yield Fragment({"index": len(self._begun), "type": "text", "text": refusal})
        reason = answer.finish_reason or _raw_reason(answer)
        if reason is None or not (refusal or _raw_reason(answer)):
            return
        if reason == "error":
            raise ProviderError("The model gave up.")
        if reason == "stop" and "tool-call" in self._begun.values():
            reason = "tool_call"  # the Responses API calls every good end "completed"
        yield Finished(reason, _usage(answer))


def _raw_reason(answer: StreamedResponse) -> str | None:
    """The reason in the vendor's own word; pydantic-ai's mapped one may be made up."""
    reason: str | None = (answer.provider_details or {}).get("finish_reason")
    return reason


def _begin(part: ModelResponsePart) -> dict[str, Any] | None:
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


def _piece(delta: ModelResponsePartDelta) -> dict[str, Any] | None:
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


def _kept(part: ModelResponsePart) -> dict[str, Any] | None:
    """What the vendor wants back with this part, once the part is whole."""
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


def _usage(answer: StreamedResponse) -> Usage:
    usage = answer.usage
    return Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        reasoning_tokens=usage.details.get("reasoning_tokens", 0),
    )
