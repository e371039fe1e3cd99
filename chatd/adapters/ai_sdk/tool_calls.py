"""Tool calls of one step, as chunks.

Whether the client or the server runs a tool is known once its call is asked, or has its result. A client
runs each call that is available, unless the provider runs it: so a call is available then, not before.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic_core import from_json, to_json

from chatd.domain.message import Part

Chunk = dict[str, Any]

_VOID_TEXT: Final = "The answer was started again."


def parse_input(args: str | None) -> tuple[Any, bool]:
    """Return the arguments of a call, and whether they are JSON. What is none is returned as it is."""
    if not args:
        return {}, True
    try:
        return from_json(args, allow_inf_nan=False), True
    except ValueError:
        return args, False


def error_text(result: Any) -> str:
    """Return the result of a call that failed, in words."""
    return result if isinstance(result, str) else to_json(result).decode()


class ToolCallWriter:
    """The calls of one step that have begun. A call that the client has already is not among them."""

    def __init__(self) -> None:
        self._calls: dict[str, Part] = {}

    def begin_step(self) -> None:
        """Forget the calls of the step before."""
        self._calls = {}

    def begin(self, part: Part) -> Iterator[Chunk]:
        """Begin a call. The provider runs its own."""
        self._calls[part["tool_call_id"]] = part
        chunk = {
            "type": "tool-input-start",
            "toolCallId": part["tool_call_id"],
            "toolName": part["tool_name"],
        }
        yield {**chunk, **_executed(part["type"] == "native-tool-call")}

    def end(self, part: Part) -> Iterator[Chunk]:
        """Keep a call with all its arguments."""
        self._calls[part["tool_call_id"]] = part
        if part["type"] == "native-tool-call":
            yield from self.make_available(part["tool_call_id"], executed=True)

    def make_available(self, call_id: str, *, executed: bool) -> Iterator[Chunk]:
        """Give the input of a call, once."""
        call = self._calls.pop(call_id, None)
        if call is None:
            return
        value, is_json = parse_input(call.get("args"))
        chunk = {
            "toolCallId": call_id,
            "toolName": call["tool_name"],
            "input": value,
            **_executed(executed),
        }
        if is_json:
            yield {"type": "tool-input-available", **chunk}
        else:
            text = "The arguments are not valid JSON."
            yield {"type": "tool-input-error", **chunk, "errorText": text}

    def settle(self, part: Part) -> Iterator[Chunk]:
        """Give the result of a call. Nobody but the server has to run it any more."""
        call_id = part["tool_call_id"]
        executed = _executed(call_id in self._calls or part["type"] == "native-tool-result")
        yield from self.make_available(call_id, executed=True)
        if part.get("is_error"):
            text = error_text(part["result"])
            yield {
                "type": "tool-output-error",
                "toolCallId": call_id,
                "errorText": text,
                **executed,
            }
        else:
            output = part["result"]
            yield {
                "type": "tool-output-available",
                "toolCallId": call_id,
                "output": output,
                **executed,
            }

    def void(self) -> Iterator[Chunk]:
        """End what was begun of the step, for a client that cannot take it back."""
        for call_id, call in self._calls.items():
            yield {
                "type": "tool-input-error",
                "toolCallId": call_id,
                "toolName": call["tool_name"],
                "input": {},
                "errorText": _VOID_TEXT,
                **_executed(executed=True),
            }
        self._calls = {}


def _executed(executed: bool) -> Mapping[str, bool]:
    return {"providerExecuted": True} if executed else {}
