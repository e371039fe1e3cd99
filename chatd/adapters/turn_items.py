"""Items of one turn: a closed set of what can happen in it, which each dialect spells.

They are the same whether the turn is followed live, resumed after a cut or read from the history. Steps
count from 0 within the turn, and the parts of a step by their index in its message.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from chatd.domain.message import Message, Part


@dataclass(frozen=True, slots=True)
class Queued:
    """The message of the turn waits in the queue, at this position from 1. Again whenever that changes."""

    position: int


@dataclass(frozen=True, slots=True)
class TurnBegan:
    """The message of the user stands in the history. It is the first item of a turn that is not queued."""

    message: Message


@dataclass(frozen=True, slots=True)
class StepBegan:
    """A response of the model begins."""

    step: int


@dataclass(frozen=True, slots=True)
class PartBegan:
    """A part begins. ``part`` has what is known of it but its text or arguments, which follow."""

    step: int
    index: int
    part: Part


@dataclass(frozen=True, slots=True)
class PartDelta:
    """More text of a part, or of the arguments of a call. Never empty."""

    step: int
    index: int
    text: str


@dataclass(frozen=True, slots=True)
class PartEnded:
    """A part is complete. ``part`` is all of it."""

    step: int
    index: int
    part: Part


@dataclass(frozen=True, slots=True)
class ToolResult:
    """A call of this step has its result, the part ``part``."""

    step: int
    part: Part


@dataclass(frozen=True, slots=True)
class StepEnded:
    """A step is stored as ``message``. All its parts have ended before."""

    step: int
    message: Message


@dataclass(frozen=True, slots=True)
class StepVoided:
    """The step does not count as far as it was sent, if it was. It begins again, or never."""

    step: int


@dataclass(frozen=True, slots=True)
class Retrying:
    """The request to the model failed and will be repeated. ``failure`` has the ``kind`` and more."""

    attempt: int
    delay_seconds: float
    failure: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ActionRequired:
    """Calls wait for people or for the client. The stream ends with it, the turn does not.

    Each of ``calls`` has the fields of ``domain.question.action``.
    """

    calls: Sequence[Mapping[str, Any]]
    deadline: datetime


@dataclass(frozen=True, slots=True)
class TurnFinished:
    """The turn is complete. ``finish_reason`` is that of its last response."""

    finish_reason: str | None


@dataclass(frozen=True, slots=True)
class TurnInterrupted:
    """The turn was stopped. What it said so far is kept."""


@dataclass(frozen=True, slots=True)
class TurnFailed:
    """The turn failed. ``kind`` is that of the failure, and ``text`` is for people."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class TurnSuperseded:
    """The message of the turn was edited, removed or cleared: another turn takes its place, or none."""


@dataclass(frozen=True, slots=True)
class ChatDeleted:
    """The chat was deleted."""


TurnEnd: TypeAlias = TurnFinished | TurnInterrupted | TurnFailed | TurnSuperseded | ChatDeleted
"""The end of a turn. Nothing follows on it."""

TurnItem: TypeAlias = (
    Queued
    | TurnBegan
    | StepBegan
    | PartBegan
    | PartDelta
    | PartEnded
    | ToolResult
    | StepEnded
    | StepVoided
    | Retrying
    | ActionRequired
    | TurnEnd
)


def ends_stream(item: TurnItem) -> bool:
    """Return whether a stream of one turn ends with this item."""
    return isinstance(item, ActionRequired | TurnEnd)
