"""Items of a turn as one whole completion."""

from collections.abc import Iterable
from typing import Final

from chatd.adapters.completions.completion import (
    STOP,
    TOOL_CALLS,
    CompletionHead,
    Object,
    citations,
    finish_reason,
    usage_object,
)
from chatd.adapters.openai_errors import TurnError, turn_error
from chatd.adapters.turn_items import ActionRequired, StepEnded, TurnFinished, TurnItem
from chatd.domain.chat import Usage
from chatd.domain.message import Message, Part, text_of

_KIND: Final = "chat.completion"


def whole_completion(items: Iterable[TurnItem], head: CompletionHead) -> Object | TurnError:
    """Return the completion of the items of a turn, or why it has no whole answer.

    It is made of the stored messages, so what was voided is not in it.
    """
    messages: list[Message] = []
    reason = STOP
    for item in items:
        if (error := turn_error(item)) is not None:
            return error
        match item:
            case StepEnded(_, message):
                messages.append(message)
            case TurnFinished(finished):
                reason = finish_reason(finished)
            case ActionRequired():
                reason = TOOL_CALLS
    parts = [part for message in messages for part in message.content]
    usage = sum((message.usage for message in messages if message.usage), Usage())
    choice = {
        "index": 0,
        "message": _message(parts, head),
        "finish_reason": reason,
        "logprobs": None,
    }
    return {**head.fields(_KIND), "choices": [choice], "usage": usage_object(usage)}


def _message(parts: list[Part], head: CompletionHead) -> Object:
    message: Object = {"role": "assistant", "content": text_of(parts), "refusal": None}
    if reasoning := "".join(part["text"] for part in parts if part["type"] == "reasoning"):
        message["reasoning_content"] = reasoning
    if annotations := citations(parts):
        message["annotations"] = annotations
    if calls := [_call(part) for part in parts if head.is_client_call(part)]:
        message["tool_calls"] = calls
        message["content"] = message["content"] or None
    return message


def _call(part: Part) -> Object:
    function = {"name": part["tool_name"], "arguments": part["args"]}
    return {"id": part["tool_call_id"], "type": "function", "function": function}
