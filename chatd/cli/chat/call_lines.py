"""Tool calls in the transcript of a terminal: the call, and below it its state or its result."""

from collections.abc import Iterator, Mapping, Sequence

from rich.text import Text

from chatd.cli.tool_calls import CALL_STYLES, call_text, outcome, result_text, running_text
from chatd.client import Part, RunningCall
from chatd.client.types import ActionRequiredData
from chatd.domain.sanitize import visible

_MAX_RUNNING_CALLS = 8
"""Calls that the preview shows: as many as run at once by default."""


def result_lines(content: Sequence[Part], args_by_id: Mapping[str, str]) -> Iterator[Text]:
    """Yield the calls of a message of tools with their results."""
    for part in content:
        if part["type"] == "tool-result":
            is_error = part.get("is_error", False)
            kind = outcome(part["result"], is_error=is_error)
            yield _call_line(kind, part.get("tool_name"), args_by_id.get(part["tool_call_id"], ""))
            text = result_text(part["result"], is_error=is_error)
            yield _line(f"  {text}", "dim" if kind == "ok" else CALL_STYLES[kind])


def native_call_lines(content: Sequence[Part]) -> Iterator[Text]:
    """Yield the calls of an answer that the provider ran itself."""
    failed = {
        part["tool_call_id"]
        for part in content
        if part["type"] == "native-tool-result" and part.get("is_error")
    }
    for part in content:
        if part["type"] == "native-tool-call":
            kind = "failed" if part["tool_call_id"] in failed else "ok"
            yield _call_line(kind, part["tool_name"], part["args"])


def running_call_lines(
    calls: Sequence[RunningCall], action: ActionRequiredData | None
) -> Iterator[Text]:
    """Yield the calls that have no result yet with their states, without those that people are asked."""
    asked = {call["tool_call_id"]: call["kind"] for call in action["calls"]} if action else {}
    calls = [call for call in calls if asked.get(call.id, "result") == "result"]
    for call in calls[:_MAX_RUNNING_CALLS]:
        kind = ("failed" if call.is_error else "ok") if call.ended else "running"
        yield _call_line(kind, call.name, call.args)
        yield _line(f"  {running_text(call, asked=asked.get(call.id))}", "dim")
    if len(calls) > _MAX_RUNNING_CALLS:
        yield _line(f"... and {len(calls) - _MAX_RUNNING_CALLS} more", "dim")


def question_lines(question: Sequence[str]) -> Iterator[Text]:
    """Yield a question to the person, its main line in colour. People decide by it, so nothing is cut."""
    for line in question:
        yield Text(visible(line), style="bold magenta" if line.startswith("? ") else "dim")


def _call_line(kind: str, name: str | None, args: str) -> Text:
    """Return a call with a mark in the colour of what came of it."""
    line = _line(f"* {call_text(name, args)}", "")
    line.stylize(f"bold {CALL_STYLES[kind]}", 0, 1)
    return line


def _line(text: str, style: str) -> Text:
    """Return text that is cut at the edge of the terminal."""
    return Text(visible(text), style=style, no_wrap=True, overflow="ellipsis")
