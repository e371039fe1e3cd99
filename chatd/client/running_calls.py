"""Tool calls of the last answer whose results are not stored yet, with the progress of their tools."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from chatd.client.types import Message, PartDelta, ToolCallsChangedData

_MAX_TEXT_LENGTH: Final = 16 * 1024
"""Characters of a tool's output that are kept, as the server does: the last ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningCall:
    """A call whose result is not in the history yet. It runs, it waits, or it has ended before others."""

    id: str
    name: str
    args: str
    """JSON as the model wrote it."""
    ended: bool = False
    is_error: bool = False
    """True if it has ended with an error."""
    text: str = ""
    """The end of the tool's output so far."""
    progress: float | None = None
    total: float | None = None
    message: str = ""
    """Last message of the tool."""


class RunningCalls:
    """Progress and ends of the calls of the last answer, by their events."""

    def __init__(self) -> None:
        self._ended: dict[str, bool] = {}
        self._progress: dict[str, Mapping[str, Any]] = {}

    def clear(self) -> None:
        """Forget everything: an answer or the results were stored, or the answer is streamed again."""
        self._ended, self._progress = {}, {}

    def take_progress(self, deltas: Iterable[PartDelta]) -> list[PartDelta]:
        """Apply the deltas that are progress of tools, and return the others."""
        others: list[PartDelta] = []
        for delta in deltas:
            if delta["type"] == "tool-progress":
                before = self._progress.get(delta["tool_call_id"], {})
                text = f"{before.get('text', '')}{delta.get('text', '')}"[-_MAX_TEXT_LENGTH:]
                now = {**before, **delta, "text": text}
                self._progress[delta["tool_call_id"]] = now
            else:
                others.append(delta)
        return others

    def update(self, data: ToolCallsChangedData) -> None:
        """Apply which calls have ended."""
        for call in data["closed"]:
            self._ended[call["tool_call_id"]] = call["is_error"]

    def of(self, messages: Sequence[Message]) -> Iterator[RunningCall]:
        """Yield the calls of the last message, if it is an answer. Those of the provider have results."""
        if not messages or messages[-1]["role"] != "assistant":
            return
        content = messages[-1]["content"]
        answered = {part["tool_call_id"] for part in content if part["type"] == "tool-result"}
        for part in content:
            if part["type"] != "tool-call" or part["tool_call_id"] in answered:
                continue
            call_id = part["tool_call_id"]
            progress = self._progress.get(call_id, {})
            yield RunningCall(
                id=call_id,
                name=part["tool_name"],
                args=part["args"],
                ended=call_id in self._ended,
                is_error=self._ended.get(call_id, False),
                text=progress.get("text", ""),
                progress=progress.get("progress"),
                total=progress.get("total"),
                message=progress.get("message", ""),
            )
