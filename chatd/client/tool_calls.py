"""One call of a client's tool: from what the model wrote to the result that it reads."""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import anyio

from chatd.client.types import Action, Tool, ToolResultInput

_MAX_ERROR_CHARS = 2000
"""Longest text of an exception that a model gets: some have a whole response in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A call that a function of the client runs."""

    chat_id: str
    id: str
    name: str
    args: Mapping[str, Any]
    key: str
    """The same each time that this call is run, and of no other call. A function that passes it on as an
    idempotency key has its effect once, also if the client is restarted or two clients run."""


ToolFunction: TypeAlias = Callable[[ToolCall], Awaitable[Any]]
"""A coroutine function that runs a call. It returns a value that JSON can hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTool:
    """A tool of the client: its declaration, its function and the bounds of a call."""

    declaration: Tool
    function: ToolFunction
    timeout_seconds: float
    max_result_bytes: int

    async def run(self, pending: Action, *, chat_id: str, key: str) -> ToolResultInput:
        """Return the result of a call. Everything that goes wrong is a result with ``is_error``."""
        call_id, name = pending["tool_call_id"], pending["tool_name"]
        try:
            args = _parse_args(pending["args"])
        except ValueError as error:
            return error_result(call_id, f"The arguments are not a JSON object: {error}")
        call = ToolCall(chat_id=chat_id, id=call_id, name=name, args=args, key=key)
        try:
            with anyio.fail_after(self.timeout_seconds) as deadline:
                result = await self.function(call)
            size = len(json.dumps(result, allow_nan=False).encode())
        except Exception as error:  # noqa: BLE001 - the model gets it
            if isinstance(error, TimeoutError) and deadline.cancelled_caught:
                text = f"Stopped after {self.timeout_seconds:g} s. It may have had effects."
            else:
                text = f"{type(error).__name__}: {error}"
            return error_result(call_id, text)
        if size > self.max_result_bytes:
            too_large = f"The result has {size} bytes. At most {self.max_result_bytes} are allowed."
            return error_result(call_id, too_large)
        return {"tool_call_id": call_id, "result": result}


def error_result(call_id: str, text: str) -> ToolResultInput:
    """Return a result that tells the model what went wrong."""
    return {"tool_call_id": call_id, "result": text[:_MAX_ERROR_CHARS], "is_error": True}


def _parse_args(text: str) -> Mapping[str, Any]:
    """Return the arguments. Raises ``ValueError``. A model may write none for a tool without parameters."""
    try:
        args = json.loads(text) if text.strip() else {}
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if isinstance(args, dict):
        return args
    raise ValueError(f"it is {type(args).__name__}")
