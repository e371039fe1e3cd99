"""Turns as items: stored steps, cut anywhere, with answers between them that became void."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import openresponses_types
from openai.types.responses import ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from chatd.adapters.responses.events import ResponseEvents
from chatd.adapters.responses.ids import ResponseId
from chatd.adapters.responses.resource import ResponseHead
from chatd.adapters.sequence import TurnSequence
from chatd.adapters.turn_items import (
    PartBegan,
    PartDelta,
    PartEnded,
    StepBegan,
    StepEnded,
    StepVoided,
    TurnItem,
)
from chatd.domain.chat import Usage
from chatd.domain.message import Message, Part, Role

CHAT = UUID("5bd0a6e5-6d3c-4a3e-9f0e-2f6f8c1d7a10")
RESPONSE = ResponseId(CHAT, 1 << 63 | 7)
AT = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
HEAD = ResponseHead(id=RESPONSE, turn_id=RESPONSE, created_at=AT, model="fast")

Event = dict[str, Any]
_TEXTS = {"text": "text", "reasoning": "text", "tool-call": "args"}


def text(words: str) -> Part:
    return {"type": "text", "text": words}


def reasoning(words: str) -> Part:
    return {"type": "reasoning", "text": words}


def call(call_id: str, args: str = '{"city": "Bern"}') -> Part:
    return {"type": "tool-call", "tool_call_id": call_id, "tool_name": "weather", "args": args}


SOURCE = {"type": "source", "url": "https://example.com/", "title": "Example"}


def message(number: int, *parts: Part, finish_reason: str = "stop") -> Message:
    return Message(
        id=number,
        chat_id=CHAT,
        version=number,
        role=Role.ASSISTANT,
        content=parts,
        model_config_id=None,
        usage=Usage(input_tokens=3, output_tokens=2, cache_read_tokens=1),
        finish_reason=finish_reason,
        created_at=AT,
    )


@dataclass(frozen=True)
class Step:
    """A stored message, and the answers before it that became void: as many parts, and characters."""

    parts: Sequence[Part]
    voids: Sequence[tuple[Part, ...]] = ()
    finish_reason: str = "stop"


def part_items(step: int, parts: Sequence[Part], cut: random.Random | None) -> Iterator[TurnItem]:
    """Yield the items of parts. Without ``cut`` each text is one delta, as in a replay."""
    for index, part in enumerate(parts):
        key = _TEXTS.get(part["type"], "")
        yield PartBegan(step, index, {name: part[name] for name in part if name != key})
        whole = part.get(key, "")
        while whole:
            length = len(whole) if cut is None else cut.randint(1, len(whole))
            yield PartDelta(step, index, whole[:length])
            whole = whole[length:]
        yield PartEnded(step, index, part)


def live(steps: Sequence[Step], end: TurnItem, cut: random.Random) -> list[list[TurnItem]]:
    """Return the items of a turn as somebody sees it who is there, in pieces that have one attempt each."""
    pieces: list[list[TurnItem]] = [[]]
    for number, step in enumerate(steps):
        for void in step.voids:
            pieces[-1] += [StepBegan(number), *_unended(part_items(number, void, cut))]
            pieces.append([StepVoided(number)])
        if step.parts:
            pieces[-1] += [StepBegan(number), *part_items(number, step.parts, cut)]
            stored = message(number + 1, *step.parts, finish_reason=step.finish_reason)
            pieces[-1].append(StepEnded(number, stored))
    pieces[-1].append(end)
    return pieces


def _unended(items: Iterator[TurnItem]) -> list[TurnItem]:
    found = list(items)
    return found[:-1] if found else found


def replay(steps: Sequence[Step], end: TurnItem) -> list[TurnItem]:
    """Return the items of a turn as they are read from the history."""
    items: list[TurnItem] = []
    for number, step in enumerate(steps):
        if step.parts:
            items += [StepBegan(number), *part_items(number, step.parts, None)]
            stored = message(number + 1, *step.parts, finish_reason=step.finish_reason)
            items.append(StepEnded(number, stored))
    return [*items, end]


def voids(steps: Sequence[Step]) -> list[int]:
    return [number for number, step in enumerate(steps) for _ in step.voids]


def spell(
    items: Sequence[TurnItem], known_voids: Sequence[int] = (), after: int | None = None
) -> tuple[list[Event], dict[str, Any]]:
    """Return the events of a response, and the Response object at their end."""
    writer = ResponseEvents(HEAD, TurnSequence(known_voids, after=after))
    events = [*writer.begin(queued=False)]
    for item in items:
        events += writer.events(item)
    return events, writer.response()


STREAM_EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)

OPEN_EVENTS: dict[str, type[BaseModel]] = {
    next(iter(model.model_fields["type"].annotation)).value: model
    for name, model in vars(openresponses_types).items()
    if name.endswith("StreamingEvent")
}


def check_strictly(event: Event) -> None:
    STREAM_EVENT.validate_python(event, strict=True)
    if event["type"] in OPEN_EVENTS:
        OPEN_EVENTS[event["type"]].model_validate(event)
