"""Parser of server-sent events, by section 9.2.6 of the WHATWG's HTML standard.

The parser of httpx2 does not suffice: it hides whether an event has an id or inherited one, yields events
without data, and delays an event that ends with a lone CR. The field ``retry`` is ignored: ``backoff``
decides about delays.
"""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass

_LINE_END = re.compile(r"\r\n|\n|\r")


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """Event as received. ``id`` is None if the event itself has none."""

    event: str
    data: str
    id: str | None = None


class EventStreamParser:
    """Incremental parser. Chunks may end anywhere. An unfinished event is not an event."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")(errors="replace")
        self._after_cr = False
        self._line_pieces: list[str] = []
        self._type = ""
        self._data: list[str] = []
        self._id: str | None = None

    def feed(self, chunk: bytes) -> Iterator[ServerSentEvent]:
        """Yield the events that ``chunk`` completes."""
        text = self._decoder.decode(chunk)
        if not text:
            return
        if self._after_cr and text[0] == "\n":
            text = text[1:]
        self._after_cr = text.endswith("\r")
        first, *others = _LINE_END.split(text)
        self._line_pieces.append(first)
        for other in others:
            event = self._process_line("".join(self._line_pieces))
            self._line_pieces = [other]
            if event is not None:
                yield event

    def _process_line(self, line: str) -> ServerSentEvent | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")  # a comment has no name
        value = value.removeprefix(" ")
        match name:
            case "event":
                self._type = value
            case "data":
                self._data.append(value)
            case "id" if "\0" not in value:
                self._id = value
        return None

    def _dispatch(self) -> ServerSentEvent | None:
        event_type, data, event_id = self._type or "message", self._data, self._id
        self._type, self._data, self._id = "", [], None
        return ServerSentEvent(event_type, "\n".join(data), event_id) if data else None
