"""The Response object: one response to one message of the user, as it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from chatd.adapters.responses.ids import ResponseId, conversation_id
from chatd.domain.chat import Usage
from chatd.domain.failure import FailureKind

Resource = Mapping[str, Any]
"""An object of the dialect, as it is sent."""

_RATE_LIMITS = frozenset({FailureKind.RATE_LIMIT.value, FailureKind.QUOTA.value})


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseHead:
    """Everything of a response that is known before it is answered."""

    id: ResponseId
    turn_id: ResponseId
    """The id of the first response of its turn, by which its items are named."""
    created_at: datetime
    model: str
    background: bool = False
    store: bool = True
    instructions: str | None = None
    previous_response_id: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    tools: Sequence[Mapping[str, Any]] = ()
    tool_choice: str = "auto"


def response_resource(
    head: ResponseHead,
    *,
    status: str,
    output: Sequence[Resource],
    usage: Usage | None = None,
    error: Mapping[str, str] | None = None,
    incomplete_reason: str | None = None,
    completed_at: datetime | None = None,
) -> dict[str, Any]:
    """Return the Response object with all fields, those that chatd does not have at their defaults."""
    return {
        "id": str(head.id),
        "object": "response",
        "created_at": int(head.created_at.timestamp()),
        "completed_at": None if completed_at is None else int(completed_at.timestamp()),
        "status": status,
        "background": head.background,
        "error": error,
        "incomplete_details": None if incomplete_reason is None else {"reason": incomplete_reason},
        "instructions": head.instructions,
        "max_output_tokens": None,
        "max_tool_calls": None,
        "metadata": dict(head.metadata),
        "model": head.model,
        "output": list(output),
        "parallel_tool_calls": True,
        "previous_response_id": head.previous_response_id,
        "conversation": {"id": conversation_id(head.id.chat_id)},
        "prompt_cache_key": None,
        "reasoning": {"effort": None, "summary": None},
        "safety_identifier": None,
        "service_tier": "default",
        "store": head.store,
        "temperature": 1,
        "text": {"format": {"type": "text"}},
        "tool_choice": head.tool_choice,
        "tools": [function_tool(tool) for tool in head.tools],
        "top_logprobs": 0,
        "top_p": 1,
        "presence_penalty": 0,
        "frequency_penalty": 0,
        "truncation": "disabled",
        "usage": None if usage is None else _usage(usage),
        "user": None,
    }


def function_tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tool that the client runs."""
    return {
        "type": "function",
        "name": tool["name"],
        "description": tool["description"],
        "parameters": tool["parameters"],
        "strict": False,
    }


def failure_error(kind: str, text: str) -> Mapping[str, str]:
    """Return the error of a response whose turn failed."""
    code = "rate_limit_exceeded" if kind in _RATE_LIMITS else "server_error"
    return {"code": code, "message": text}


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cache_read_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
