"""Base class of the stream events, and the parsing of one.

The classes of the events are in ``events``, which is generated from the API's document.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

from chatd.client.sse import ServerSentEvent

Data = TypeVar("Data")


@dataclass(frozen=True)
class StreamEvent(Generic[Data]):
    """An event of a stream. ``id`` is the cursor after it: resuming with it repeats and loses nothing."""

    event: ClassVar[str]
    """The type of the event on the wire."""

    data: Data
    id: str | None = None


@dataclass(frozen=True, slots=True)
class UnknownEvent:
    """An event of a type that this client does not know. A newer server may send some: ignore them."""

    event: str
    data: Any
    id: str | None = None


EventTypes: TypeAlias = Mapping[str, Callable[[Any, str | None], Any]]
"""Event classes, by their types on the wire."""


def event_types(*classes: type[StreamEvent[Any]]) -> EventTypes:
    """Return the classes by their types on the wire."""
    return {event.event: event for event in classes}


def parse_event(raw: ServerSentEvent, known: EventTypes) -> Any:
    """Return the event as an instance of its class, or an ``UnknownEvent`` if its type is not ``known``."""
    data = json.loads(raw.data)
    event = known.get(raw.event)
    return UnknownEvent(raw.event, data, raw.id) if event is None else event(data, raw.id)
