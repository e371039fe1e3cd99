"""A client that applies the items of a turn, and refuses any that come in the wrong order."""

from collections.abc import Iterable
from typing import Any

from chatd.adapters.step_reader import public, shown
from chatd.adapters.turn_items import (
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
    TurnItem,
    ends_stream,
)
from chatd.domain.message import Message, Part, Role

_BODY = {"text": "text", "reasoning": "text", "tool-call": "args"}


class TurnClient:
    """The turn as a client has it: the parts of each step, and the end."""

    def __init__(self, items: Iterable[TurnItem] = ()) -> None:
        self.steps: list[list[dict[str, Any]]] = []
        self.results: list[Part] = []
        self.end: TurnItem | None = None
        self.voids = 0
        self._began = False
        self._step_open = False
        self._part_open = False
        self.apply(items)

    def apply(self, items: Iterable[TurnItem]) -> None:
        for item in items:
            assert self.end is None, f"{item} after the end"
            self._apply(item)

    def _apply(self, item: TurnItem) -> None:
        match item:
            case Queued() | TurnBegan():
                assert not self._began
                self._began = isinstance(item, TurnBegan)
            case PartBegan() | PartDelta() | PartEnded():
                self._apply_part(item)
            case StepVoided(step):
                if self._step_open:  # else nothing was sent of it
                    assert step == len(self.steps) - 1
                    self.steps.pop()
                self._step_open = self._part_open = False
                self.voids += 1
            case StepBegan() | StepEnded():
                self._apply_step(item)
            case ToolResult(step, part):
                assert (self._step_open, step) == (False, len(self.steps) - 1)
                self.results.append(part)
            case Retrying():
                assert not self._step_open
            case _:
                assert ends_stream(item)
                assert not self._step_open
                self.end = item

    def _apply_part(self, item: PartBegan | PartDelta | PartEnded) -> None:
        assert self._step_open
        match item:
            case PartBegan(step, index, part):
                assert not self._part_open
                assert (step, index) == (len(self.steps) - 1, len(self.steps[-1]))
                body = {_BODY[part["type"]]: ""} if part["type"] in _BODY else {}
                self.steps[-1].append({**part, **body})
                self._part_open = True
            case PartDelta(step, index, text):
                assert self._part_open
                assert text
                assert (step, index) == (len(self.steps) - 1, len(self.steps[-1]) - 1)
                part = self.steps[-1][-1]
                part[_BODY[part["type"]]] += text
            case PartEnded(step, index, part):
                assert self._part_open
                assert (step, index) == (len(self.steps) - 1, len(self.steps[-1]) - 1)
                assert self.steps[-1][-1] == part
                self._part_open = False

    def _apply_step(self, item: StepBegan | StepEnded) -> None:
        assert self._step_open is not isinstance(item, StepBegan)
        match item:
            case StepBegan(step):
                assert (self._began, step) == (True, len(self.steps))
                self.steps.append([])
            case StepEnded(step, message):
                assert (self._part_open, step) == (False, len(self.steps) - 1)
                assert self.steps[-1] == [public(part) for part in shown(message.content)]
        self._step_open = isinstance(item, StepBegan)

    def check_shows(self, messages: Iterable[Message]) -> None:
        """Check that the client shows exactly what is stored."""
        stored = list(messages)
        assert self.steps == [
            [public(part) for part in shown(message.content)]
            for message in stored
            if message.role is Role.ASSISTANT
        ]
        assert self.results == [
            part for message in stored if message.role is Role.TOOL for part in message.content
        ]
