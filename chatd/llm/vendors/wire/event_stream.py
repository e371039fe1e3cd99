"""Parser of server-sent events, by the specification of the WHATWG, with bounds.

https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

from collections.abc import Iterator

from chatd.llm.errors import InvalidProviderResponse

MAX_EVENT_BYTES = 16 * 1024 * 1024
"""Most bytes of one event. The last event of a Responses stream repeats the whole answer."""

Event = tuple[str, bytes]
"""Type of an event, empty if it has none, and its data. Data is never blank."""

_BOM = b"\xef\xbb\xbf"


class EventParser:
    """Parser of one stream. A line may end with CR, LF or CRLF, and may be split anywhere.

    Comments, ``id``, ``retry`` and unknown fields are ignored, as are events without data. One field is no
    part of the specification: old servers of llama.cpp report a failure as ``error: {…}``.
    """

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self._size = 0
        self._follows_cr = False
        self._name = ""
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> list[Event]:
        """Return the events that end in ``chunk``."""
        if self._follows_cr and chunk:
            self._follows_cr = False
            if chunk.startswith(b"\n"):
                chunk = chunk[1:]
        if b"\r" in chunk:
            self._follows_cr = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        self._size += len(chunk)
        if self._size > MAX_EVENT_BYTES:
            raise InvalidProviderResponse(f"one event has more than {MAX_EVENT_BYTES} bytes")
        if b"\n" not in chunk:
            self._rest.append(chunk)
            return []
        lines = b"".join((*self._rest, chunk)).split(b"\n")
        last = lines.pop()
        self._rest = [last]
        events = [event for line in lines for event in self._read_line(line)]
        self._size = len(last) + sum(map(len, self._data))
        return events

    def finish(self) -> list[Event]:
        """Return the last event, if the stream ended without the blank line after it.

        The specification drops such an event. Servers exist that end like this after ``[DONE]``.
        """
        events = list(self._read_line(b"".join(self._rest)))
        self._rest = []
        return [*events, *self._read_line(b"")]

    def _read_line(self, line: bytes) -> Iterator[Event]:
        if line.startswith(b"data:"):
            self._data.append(line[6:] if line.startswith(b" ", 5) else line[5:])
        elif not line:
            if self._data:
                data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
                if data and not data.isspace():
                    yield self._name, data
                self._data = []
            self._name = ""
        elif line.startswith(b"event:"):
            self._name = line[6:].decode("utf-8", "replace").strip()
        elif line.startswith(b"error:"):
            yield "error", line[6:].strip()
        elif line.startswith(b'{"error"'):
            yield "error", line


def strip_start(head: bytes) -> bytes:
    """Return the first bytes of a body without a byte order mark and without white space."""
    return head.removeprefix(_BOM).lstrip()


def is_start_of_bom(head: bytes) -> bool:
    """Return True if ``head`` may become a byte order mark."""
    return len(head) < len(_BOM) and _BOM.startswith(head)
