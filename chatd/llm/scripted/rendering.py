"""Rendering: one step of a script → deltas or an exception. Pure: no clock, no waiting."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from chatd.domain.chat import Usage
from chatd.llm.errors import InvalidProviderResponse, ProviderError
from chatd.llm.provider import Finished, PartDelta
from chatd.llm.scripted.script import Error, Finish, Step, ToolCall

_PLACEHOLDER = re.compile(
    r"\{(?:(?P<field>message|model|attempt|call|turn|index|result)"
    r"|result:(?P<call_id>[\w-]+)(?::(?P<keys>[\w.-]+))?)\}"
)
_MAX_KEPT_LENGTH: Final = 10_000
"""Characters of a text whose deltas are kept for further turns."""
_TRANSPORT_ERRORS: dict[str, type[Exception]] = {
    "reset": ConnectionResetError,
    "refused": ConnectionRefusedError,
    "timeout": TimeoutError,
    "garbled": InvalidProviderResponse,
}


def _no_result(_: str) -> None:
    """Return the result of a call in a chat without any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptContext:
    """Position in a chat at which a script is played. ``attempt``, ``call`` and ``turn`` count from 1."""

    message: str
    model: str
    attempt: int
    call: int
    turn: int
    result: str = ""
    tokens: int | None = None
    """The tokens of the request, about. None: no step of the script asks for them."""
    result_of: Callable[[str], Any] = _no_result
    """Function that returns the result of an earlier call of the chat, by its id. None: there is none."""

    def matches(self, step: Step) -> bool:
        """Return whether the step is played at this position."""
        return (
            (step.attempts is None or self.attempt in step.attempts)
            and (step.calls is None or self.call in step.calls)
            and (step.turns is None or self.turn in step.turns)
            and (step.above_tokens is None or (self.tokens or 0) > step.above_tokens)
        )

    def render(self, template: str, *, index: int = 0) -> str:
        """Replace the placeholders. Inserted text is not expanded again."""
        if "{" not in template:
            return template
        return _PLACEHOLDER.sub(lambda match: self._value(match, index), template)

    def _value(self, match: re.Match[str], index: int) -> str:
        if match["call_id"] is None:
            return str(index if match["field"] == "index" else getattr(self, match["field"]))
        value = self.result_of(match["call_id"])
        for key in match["keys"].split(".") if match["keys"] else ():
            value = _item(value, key)
        return value if isinstance(value, str) else json.dumps(value)


def _item(value: Any, key: str) -> Any:
    """Return an item of a JSON value, which may be the text of one. None: there is none of this key."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    if isinstance(value, list):
        return value[int(key)] if key.isdecimal() and int(key) < len(value) else None
    return value.get(key) if isinstance(value, dict) else None


def part_type(step: Step) -> str | None:
    """Return the type of content part that the step adds to. None: it adds no content."""
    if step.text is not None:
        return "text"
    if step.reasoning is not None:
        return "reasoning"
    return "tool-call" if step.tool_call is not None else None


def step_deltas(step: Step, context: ScriptContext, *, index: int) -> Sequence[PartDelta]:
    """Return the content of the step in pieces. Empty for a step without content."""
    if step.tool_call is not None:
        return _tool_call_deltas(step.tool_call, context, index=index, chunks=step.chunks)
    template = step.text if step.text is not None else step.reasoning
    if template is None:
        return []
    kind = "text" if step.text is not None else "reasoning"
    text = context.render(template, index=index) * step.repeat
    if text == template and len(text) <= _MAX_KEPT_LENGTH:
        return _kept_deltas(text, kind, index, step.chunks)
    return _text_deltas(text, kind, index, step.chunks)


def _text_deltas(text: str, kind: str, index: int, chunks: int) -> Sequence[PartDelta]:
    pieces = _split(text, chunks)
    return [PartDelta({"index": index, "type": kind, "text": piece}) for piece in pieces]


_kept_deltas = lru_cache(256)(_text_deltas)
"""The same for texts that are the same in all chats. Nobody changes a delta."""


def _tool_call_deltas(
    call: ToolCall, context: ScriptContext, *, index: int, chunks: int
) -> list[PartDelta]:
    args = call.args if isinstance(call.args, str) else json.dumps(call.args)
    first, *rest = _split(context.render(args, index=index), chunks)
    start = {
        "index": index,
        "type": "tool-call",
        "tool_call_id": context.render(call.id, index=index),
        "tool_name": call.name,
        "args": first,
    }
    more = [{"index": index, "type": "tool-call", "args": piece} for piece in rest]
    return [PartDelta(part) for part in (start, *more)]


def _split(text: str, chunks: int) -> list[str]:
    """Split into at most ``chunks`` pieces of about the same length, at least one."""
    size = max(1, -(-len(text) // chunks))
    return [text[at : at + size] for at in range(0, len(text), size)] or [""]


def exception_for(error: Error) -> Exception:
    """Return the exception that a real provider would have caused."""
    if error.transport is not None:
        return _TRANSPORT_ERRORS[error.transport](error.message)
    headers = {} if error.retry_after is None else {"retry-after": f"{error.retry_after:g}"}
    return ProviderError(error.message, status_code=error.status, code=error.code, headers=headers)


def finished_delta(finish: Finish, context: ScriptContext, *, delta_count: int) -> Finished:
    """Return the end, with estimated tokens unless given. The output has one per delta."""
    estimated_input = (
        len(context.message) // 4 + 1 if context.tokens is None else max(context.tokens, 1)
    )
    usage = Usage(
        input_tokens=estimated_input if finish.input_tokens is None else finish.input_tokens,
        output_tokens=delta_count if finish.output_tokens is None else finish.output_tokens,
    )
    return Finished(finish.reason, usage)
