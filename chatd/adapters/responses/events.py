"""Items of a turn as events of a response, and as the Response object that they lead to.

The same items make the same events with the same numbers: live, replayed and from the history. A response
without a stream is what its events lead to.

Calls of tools that the client runs are shown once the turn waits for their results. Until then their answer
may become void, and a client runs each call that it is shown. Calls that the server runs are never shown,
for the same reason.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from chatd.adapters.responses.open_item import Event
from chatd.adapters.responses.output_stream import OutputStream
from chatd.adapters.responses.resource import ResponseHead, failure_error, response_resource
from chatd.adapters.sequence import TurnSequence
from chatd.adapters.step_reader import shown
from chatd.adapters.turn_items import (
    ActionRequired,
    ChatDeleted,
    PartBegan,
    PartDelta,
    PartEnded,
    Queued,
    Retrying,
    StepBegan,
    StepEnded,
    StepVoided,
    ToolResult,
    TurnBegan,
    TurnEnd,
    TurnFailed,
    TurnFinished,
    TurnInterrupted,
    TurnItem,
    TurnSuperseded,
)
from chatd.domain.chat import Usage
from chatd.domain.message import Message, Part
from chatd.domain.question import QuestionKind

_CREATED, _QUEUED, _IN_PROGRESS = 0, 1, 2
"""Positions of the first events. A response that was never queued leaves one out."""
_UNFINISHED: Final = frozenset({"interrupted", "length", "content_filter"})
"""Finish reasons of a message that is not whole."""
_INCOMPLETE: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}
_ASKS_A_PERSON: Final = (
    "A tool asks a person for input, for which the Responses API has no place. "
    "Answer it with POST /api/v1/chats/{chat_id}/actions."
)
_SUPERSEDED: Final = "The message was edited or taken back."
_DELETED: Final = "The conversation was deleted."


class ResponseEvents:
    """The events of one response, for one subscriber, from the first item on.

    ``first_step`` is the number of the first step of the turn that belongs to the response.
    """

    def __init__(self, head: ResponseHead, sequence: TurnSequence, *, first_step: int = 0) -> None:
        self._head = head
        self._output = OutputStream(head.turn_id, sequence)
        self.status = "queued"
        self._was_queued = False
        self._next_step = first_step
        self._calls: dict[str, tuple[int, int, Part]] = {}
        """The calls of the response, by their ids: their step, their index, and what they are."""
        self._usage: Usage | None = None
        self._last_message_at: datetime | None = None
        self._end: dict[str, Any] = {}

    @property
    def has_ended(self) -> bool:
        """True if there will be no more events."""
        return self.status not in {"queued", "in_progress"}

    def response(self, head: ResponseHead | None = None) -> dict[str, Any]:
        """Return the Response object as of now, with another ``head`` if given."""
        output = self._output.items
        return response_resource(
            head or self._head, status=self.status, output=output, usage=self._usage, **self._end
        )

    def begin(self, *, queued: bool) -> Iterator[Event]:
        """Yield the events with which the response begins."""
        self.status = "queued" if queued else "in_progress"
        yield from self._respond("created", at=_CREATED)
        if not queued:
            yield from self._respond("in_progress", at=_IN_PROGRESS)

    def events(self, item: TurnItem) -> Iterator[Event]:
        """Yield the events of an item."""
        if self.status == "queued":
            yield from self._leave_queue(item)
        match item:
            case StepBegan() | StepVoided() | StepEnded():
                yield from self._step(item)
            case PartBegan() | PartDelta() | PartEnded():
                yield from self._part(item)
            case ActionRequired(calls, _):
                yield from self._ask(calls)
            case Queued() | TurnBegan() | ToolResult() | Retrying():
                pass  # results of the server's tools, and attempts to come, are not shown
            case _:
                yield from self._end_turn(item)

    def _part(self, item: PartBegan | PartDelta | PartEnded) -> Iterator[Event]:
        match item:
            case PartBegan(_, _, part):
                yield from self._output.begin_part(part)
            case PartDelta(_, index, text):
                yield from self._output.add_text(index, text)
            case PartEnded(_, _, part) if part["type"] == "source":
                yield from self._output.cite(part)

    def _leave_queue(self, item: TurnItem) -> Iterator[Event]:
        if isinstance(item, Queued):
            if not self._was_queued:
                self._was_queued = True
                yield from self._respond("queued", at=_QUEUED)
        elif not isinstance(item, TurnSuperseded):
            self.status = "in_progress"
            yield from self._respond("in_progress", at=_IN_PROGRESS)

    def _step(self, item: StepBegan | StepVoided | StepEnded) -> Iterator[Event]:
        match item:
            case StepBegan(step):
                yield from self._output.begin_step(step)
            case StepVoided(step):
                self._next_step = step
                yield from self._output.void_step(step)
            case StepEnded(step, message):
                is_whole = message.finish_reason not in _UNFINISHED
                yield from self._output.end_step(step, is_whole=is_whole)
                self._next_step = step + 1
                self._take(step, message)

    def _take(self, step: int, message: Message) -> None:
        """Take what only a stored message has."""
        for index, part in enumerate(shown(message.content)):
            if part["type"] == "tool-call":
                self._calls[part["tool_call_id"]] = (step, index, part)
        if message.usage is not None:
            self._usage = message.usage + (self._usage or Usage())
        self._last_message_at = message.created_at

    def _ask(self, calls: Sequence[Mapping[str, Any]]) -> Iterator[Event]:
        """Yield the calls that wait for the client, and the end of the response."""
        if any(call["kind"] == QuestionKind.INPUT for call in calls):
            yield from self._fail("", _ASKS_A_PERSON.format(chat_id=self._head.id.chat_id))
            return
        yield from self._output.begin_step(self._next_step)
        for number, call in enumerate(calls):
            place = self._calls.get(call["tool_call_id"]) or (self._next_step, number, call)
            if call["kind"] == QuestionKind.APPROVAL:
                yield from self._output.ask_approval(*place)
            else:
                yield from self._output.call_function(*place)
        yield from self._end_with("completed", "completed")

    def _end_turn(self, end: TurnEnd) -> Iterator[Event]:
        match end:
            case TurnFinished(reason) if reason in _INCOMPLETE:
                cause = _INCOMPLETE[reason]
                yield from self._end_with("incomplete", "incomplete", incomplete_reason=cause)
            case TurnFinished():
                yield from self._end_with("completed", "completed")
            case TurnFailed(kind, text):
                yield from self._fail(kind, text)
            case ChatDeleted():
                yield from self._fail("", _DELETED)
            case TurnSuperseded() if self.status != "queued":
                yield from self._fail("", _SUPERSEDED)
            case TurnInterrupted() | TurnSuperseded():
                # The dialect has no event of this status. All clients take it with this one.
                yield from self._end_with("cancelled", "incomplete")

    def _fail(self, kind: str, text: str) -> Iterator[Event]:
        yield from self._end_with("failed", "failed", error=failure_error(kind, text))

    def _end_with(self, status: str, event: str, **end: Any) -> Iterator[Event]:
        # Clients throw if an item is open at the end.
        yield from self._output.close("incomplete")
        yield from self._output.begin_step(self._next_step)
        self.status = status
        completed_at = self._last_message_at if status == "completed" else None
        self._end = {"completed_at": completed_at, **end}
        yield from self._respond(event)

    def _respond(self, name: str, *, at: int | None = None) -> Iterator[Event]:
        event = {"type": f"response.{name}", "response": self.response()}
        yield from self._output.number(event, at=at)
