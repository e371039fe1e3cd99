"""From bytes to entries, whatever is in the bytes.

A line may be one of chatd's; the same behind what collectors put before it (a priority, a time and a
host, a container's name); an object of ``journalctl -o json`` with one inside; or anything at all,
which is kept as it is: what a process says in its last moments is often no event.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from chatd.logs.journald import PRIORITIES
from chatd.logs.serialize import format_timestamp

MAX_LINE_BYTES = 1024 * 1024
"""Bytes of one line; what is longer is cut into several, none of which is an event."""

_LEVELS = {str(number): level for level, number in PRIORITIES.items()} | {"5": "info"}
_PRIORITY = re.compile(rb"<([0-7])>")


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line. ``data`` is None when it is no event of chatd; ``raw`` is then all there is."""

    raw: bytes
    fields: Mapping[str, Any] | None = None
    prefix: str = ""
    """What a collector put before the event."""

    @property
    def text(self) -> str:
        return self.raw.decode("utf-8", "replace")


class LineSplitter:
    """Cuts chunks after the last line that is whole; what follows it is kept for the next chunk."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> bytes:
        """The lines that are whole by now, each with its end."""
        whole, end, rest = chunk.rpartition(b"\n")
        if not end and len(self._rest) + len(rest) <= MAX_LINE_BYTES:
            self._rest += rest
            return b""
        block = self._rest + whole + b"\n" if end else self._rest + rest + b"\n"
        self._rest = rest if end else b""
        return block

    def flush(self) -> bytes:
        """The last line, if it was not ended."""
        block, self._rest = self._rest, b""
        return block and block + b"\n"


def parse_line(line: bytes) -> LogLine:
    """What a line is."""
    line = line.rstrip(b"\r")
    if (start := line.find(b"{")) < 0:
        return _plain_line(line)
    whole = _parse_json(line[start:])
    if whole is None:
        return _plain_line(line)
    if "MESSAGE" in whole:
        return _parse_journal_record(whole, line)
    level = whole.get("level")
    if not (isinstance(whole.get("event"), str) and isinstance(level, str) and level in PRIORITIES):
        return _plain_line(line)
    before = line[:start]
    if before and (match := _PRIORITY.match(before)):
        before = before[match.end() :]
    return LogLine(line[start:], whole, before.decode("utf-8", "replace").strip())


def _parse_json(text: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _plain_line(line: bytes) -> LogLine:
    match = _PRIORITY.match(line)
    return LogLine(line[match.end() :] if match else line)


def _parse_journal_record(record: Mapping[str, Any], line: bytes) -> LogLine:
    """An event inside of a record of the journal, or prose of who else writes there."""
    message = record["MESSAGE"]
    if isinstance(message, list):  # so the journal shows what is not all printable
        try:
            inner = bytes(message)
        except (TypeError, ValueError):
            return LogLine(line)
    else:
        inner = str(message).encode("utf-8", "replace")
    found = parse_line(inner) if not inner.startswith(b'{"MESSAGE"') else LogLine(inner)
    if found.fields is not None:
        return found
    return LogLine(line, _journal_fields(record, found.text))


def _journal_fields(record: Mapping[str, Any], text: str) -> Mapping[str, Any] | None:
    try:
        at = datetime.fromtimestamp(int(record["__REALTIME_TIMESTAMP"]) / 1_000_000, UTC)
    except (KeyError, ValueError, TypeError, OverflowError):
        return None
    return {
        "timestamp": format_timestamp(at),
        "level": _LEVELS.get(str(record.get("PRIORITY")), "info"),
        "event": f"{record.get('SYSLOG_IDENTIFIER', 'journal')}",
        "message": text,
    }
