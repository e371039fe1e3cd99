"""Text for people: tool calls, their progress and their results, each on one line."""

import json
from typing import TYPE_CHECKING, Any

from chatd.cli.output import to_json
from chatd.domain.duration import format_duration
from chatd.domain.tool_call_errors import is_outcome_unknown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chatd.client import Action, Part, RunningCall, ToolCallRecord
    from chatd.client.types import NativeToolResultPart, QuestionKind, ToolResultPart

CALL_STYLES = {"ok": "green", "failed": "red", "unknown": "yellow", "running": "cyan"}
"""Colours of a call by what came of it."""

_MAX_ARGUMENTS = 12
_MAX_ARGUMENT_LENGTH = 480
"""Characters of an argument that a person who is asked sees: six lines of a terminal."""
_MAX_LENGTH = 300
"""Characters of arguments or of a result that a line shows."""


def args_text(args: str) -> str:
    """Return the arguments as ``name: value, …``, shortened. A model may write what is no JSON object."""
    try:
        values = json.loads(args) if args.strip() else {}
    except (ValueError, RecursionError):
        return shorten(args)
    if not isinstance(values, dict):
        return shorten(args)
    return shorten(", ".join(f"{name}: {value_text(value)}" for name, value in values.items()))


def args_lines(args: str) -> list[str]:
    """Return each argument on a line, for a person who decides about the call. What is cut is said so."""
    try:
        values = json.loads(args) if args.strip() else {}
    except (ValueError, RecursionError):
        values = None
    texts = (
        [f"{name}: {value_text(value)}" for name, value in values.items()]
        if isinstance(values, dict)
        else [args]
    )
    lines = [text[:_MAX_ARGUMENT_LENGTH] for text in texts[:_MAX_ARGUMENTS]]
    missing = sum(map(len, texts)) - sum(map(len, lines))
    return [*lines, f"({missing} more characters; 'chatd show' has all)"] if missing else lines


def call_text(name: str | None, args: str) -> str:
    """Return a call on one line."""
    return "  ".join(filter(None, (name or "tool", args_text(args))))


def outcome(result: Any, *, is_error: bool) -> str:
    """Return what came of a call: a key of ``CALL_STYLES``."""
    if not is_error:
        return "ok"
    return "unknown" if is_outcome_unknown(result) else "failed"


def result_text(result: Any, *, is_error: bool) -> str:
    """Return a result on one line, shortened, with what came of the call if that is bad."""
    text = shorten(value_text(result)) or "nothing"
    prefix = {"ok": "", "failed": "failed: ", "unknown": "outcome unknown: "}
    return prefix[outcome(result, is_error=is_error)] + text


def running_text(call: "RunningCall", *, asked: "QuestionKind | None" = None) -> str:
    """Return the state of a call without a result, on one line. ``asked`` is the kind of its question."""
    if call.ended:
        return "failed" if call.is_error else "done"
    if asked is not None:
        return "waits for " + ("a client that runs it" if asked == "result" else "an answer")
    steps = "" if call.progress is None else f"{call.progress:g}"
    if steps and call.total is not None:
        steps += f"/{call.total:g}"
    last_line = call.text.rstrip().rpartition("\n")[2]
    report = " ".join(filter(None, (steps, call.message or last_line)))
    return f"running  {shorten(report)}".rstrip()


def call_lines(content: "Sequence[Part]", args_by_id: dict[str, str]) -> list[str]:
    """Return two lines for each result of a message: the call, and what came of it."""
    lines = []
    for part in content:
        if part["type"] == "tool-result":
            name, args = part.get("tool_name"), args_by_id.get(part["tool_call_id"], "")
            is_error = part.get("is_error", False)
            lines += [call_text(name, args), f"  {result_text(part['result'], is_error=is_error)}"]
    return lines


def record_text(call: "ToolCallRecord") -> str:
    """Return the row of a call in the ledger on one line: state, executor, policy, tries, time."""
    state = f"{call['state']} with an error" if call["is_error"] else call["state"]
    facts = [state, f"by the {call['executor']}"]
    if call["executor"] == "server":
        tries = call["tries"]
        facts += [call["policy"], "1 try" if tries == 1 else f"{tries} tries"]
    return ", ".join([*facts, format_duration(call["seconds"], decimals=2)])


def rest_lines(part: "ToolResultPart | NativeToolResultPart") -> list[str]:
    """Return what a result has besides its text: images, and a length that was cut."""
    if part["type"] != "tool-result":
        return []
    lines = [
        f"[{file.get('name') or 'an image'}, {file['media_type']}, {file['size']} bytes]"
        for file in part.get("files", ())
    ]
    if length := part.get("output_bytes"):
        lines.append(f"[cut from {length} bytes; the model may read more with read_tool_result]")
    return lines


def action_text(action: "Action") -> str:
    """Return what a call waits for, of whom, and until when."""
    awaited = {
        "approval": "a person to allow it",
        "input": "the answer of a person",
        "result": "a client that runs it",
    }
    question = f" ({shorten(action['message'])})" if action["message"] else ""
    who = awaited.get(action["kind"], "an answer")
    return f"waits for {who}{question}, until {action['expires_at'][:19]}"


def args_of(content: "Sequence[Part]") -> dict[str, str]:
    """Return the arguments of the calls of a message, by their ids."""
    return {part["tool_call_id"]: part["args"] for part in content if part["type"] == "tool-call"}


def shorten(text: str, length: int = _MAX_LENGTH) -> str:
    """Return the beginning of a text, on one line."""
    line = " ".join(text[: 2 * length].split())
    return line if len(line) <= length and len(text) <= 2 * length else f"{line[: length - 3]}..."


def value_text(value: Any) -> str:
    """Return a result or an argument as text: a text as it is, other values as JSON."""
    return value if isinstance(value, str) else to_json(value)
