"""How one step of a script turns into deltas or into an exception. Pure: no clock, no waiting."""

import json
import re
from dataclasses import dataclass

from chatd.domain.chat import Usage
from chatd.llm.errors import InvalidProviderResponse, ProviderError
from chatd.llm.provider import Finished, PartDelta
from chatd.llm.scripted.script import Error, Finish, Step, ToolCall

_PLACEHOLDER = re.compile(r"\{(message|model|attempt|call|turn|index)\}")
_TRANSPORT_ERRORS: dict[str, type[Exception]] = {
    "reset": ConnectionResetError,
    "refused": ConnectionRefusedError,
    "timeout": TimeoutError,
    "garbled": InvalidProviderResponse,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptContext:
    """Where in a chat a script is played; ``attempt``, ``call`` and ``turn`` count from 1."""

    message: str
    model: str
    attempt: int
    call: int
    turn: int

    def matches(self, step: Step) -> bool:
        """Whether the step is played here."""
        return (
            (step.attempts is None or self.attempt in step.attempts)
            and (step.calls is None or self.call in step.calls)
            and (step.turns is None or self.turn in step.turns)
        )

    def render(self, template: str, *, index: int = 0) -> str:
        """Replace the placeholders; what is put in is not looked at again."""
        if "{" not in template:
            return template
        return _PLACEHOLDER.sub(
            lambda found: str(index if found[1] == "index" else getattr(self, found[1])), template
        )


def part_type(step: Step) -> str | None:
    """The type of content part the step adds to, if it says anything."""
    if step.text is not None:
        return "text"
    if step.reasoning is not None:
        return "reasoning"
    return "tool-call" if step.tool_call is not None else None


def step_deltas(step: Step, context: ScriptContext, *, index: int) -> list[PartDelta]:
    """What the step says, in its pieces; nothing for a step that does not speak."""
    if step.tool_call is not None:
        return _tool_call_deltas(step.tool_call, context, index=index, chunks=step.chunks)
    template = step.text if step.text is not None else step.reasoning
    if template is None:
        return []
    kind = "text" if step.text is not None else "reasoning"
    pieces = _split(context.render(template, index=index) * step.repeat, step.chunks)
    return [PartDelta({"index": index, "type": kind, "text": piece}) for piece in pieces]


def _tool_call_deltas(
    call: ToolCall, context: ScriptContext, *, index: int, chunks: int
) -> list[PartDelta]:
    args = call.args if isinstance(call.args, str) else json.dumps(call.args)
    first, *rest = _split(context.render(args, index=index), chunks)
    begun = {
        "index": index,
        "type": "tool-call",
        "tool_call_id": context.render(call.id, index=index),
        "tool_name": call.name,
        "args": first,
    }
    more = [{"index": index, "type": "tool-call", "args": piece} for piece in rest]
    return [PartDelta(part) for part in (begun, *more)]


def _split(text: str, chunks: int) -> list[str]:
    """At most ``read_chunks`` pieces of about the same length, at least one."""
    size = max(1, -(-len(text) // chunks))
    return [text[at : at + size] for at in range(0, len(text), size)] or [""]


def exception_for(error: Error) -> Exception:
    """The exception that a vendor would have caused."""
    if error.transport is not None:
        return _TRANSPORT_ERRORS[error.transport](error.message)
    headers = {} if error.retry_after is None else {"retry-after": f"{error.retry_after:g}"}
    return ProviderError(error.message, status_code=error.status, code=error.code, headers=headers)


def finished_delta(finish: Finish, context: ScriptContext, *, delta_count: int) -> Finished:
    """The end, with tokens that are at least plausible: four characters each, one per piece."""
    asked = finish.input_tokens
    said = finish.output_tokens
    usage = Usage(
        input_tokens=len(context.message) // 4 + 1 if asked is None else asked,
        output_tokens=delta_count if said is None else said,
    )
    return Finished(finish.reason, usage)
