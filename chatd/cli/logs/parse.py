"""Parser of log lines, for any bytes.

A line may be an event of chatd, alone or behind the prefix of a collector (a priority, a time and a
host, the name of a container), or an object of ``journalctl -o json`` that contains one. Any other
line is kept unchanged, because the last output of a failing process is often no event.
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
"""Maximum bytes of a line. A longer one is split into several, none of which is an event."""

_LEVELS = {str(number): level for level, number in PRIORITIES.items()} | {"5": "info"}
_PRIORITY = re.compile(rb"<([0-7])>")


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line. ``fields`` is None if it is no event of chatd."""

    raw: bytes
    fields: Mapping[str, Any] | None = None
    prefix: str = ""
    """Text of a collector before the event."""

    @property
    def text(self) -> str:
        """The raw line as text."""
        return self.raw.decode("utf-8", "replace")


class LineSplitter:
    """Splitter of chunks at line ends. It keeps an incomplete line for the next chunk."""

    def __init__(self) -> None:
        self._incomplete = b""

    def feed(self, chunk: bytes) -> bytes:
        """Return the lines that this chunk completes, each with its newline."""
        complete, newline, rest = chunk.rpartition(b"\n")
        if not newline and len(self._incomplete) + len(rest) <= MAX_LINE_BYTES:
            self._incomplete += rest
            return b""
        block = self._incomplete + (complete if newline else rest) + b"\n"
        self._incomplete = rest if newline else b""
        return block

    def flush(self) -> bytes:
        """Return the last line if it has no newline."""
        block, self._incomplete = self._incomplete, b""
        return block and block + b"\n"


def parse_line(line: bytes) -> LogLine:
    """Parse one line without its newline."""
    line = line.rstrip(b"\r")
    if (start := line.find(b"{")) < 0:
        return _plain_line(line)
    fields = _parse_json(line[start:])
    if fields is None:
        return _plain_line(line)
    if "MESSAGE" in fields:
        return _parse_journal_record(fields, line)
    level = fields.get("level")
    if not (
        isinstance(fields.get("event"), str) and isinstance(level, str) and level in PRIORITIES
    ):
        return _plain_line(line)
    prefix = line[:start]
    if prefix and (match := _PRIORITY.match(prefix)):
        prefix = prefix[match.end() :]
    return LogLine(line[start:], fields, prefix.decode("utf-8", "replace").strip())


def _parse_json(text: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _plain_line(line: bytes) -> LogLine:
    match = _PRIORITY.match(line)
    return LogLine(line[match.end() :] if match else line)


def _parse_journal_record(record: Mapping[str, Any], line: bytes) -> LogLine:
    """Parse a record of the journal: an event of chatd, or a message of another program."""
    message = record["MESSAGE"]
    if isinstance(message, list):  # journalctl prints unprintable messages as a list of bytes
        try:
            inner = bytes(message)
        except (TypeError, ValueError):
            return LogLine(line)
    else:
        inner = str(message).encode("utf-8", "replace")
    log_line = parse_line(inner) if not inner.startswith(b'{"MESSAGE"') else LogLine(inner)
    if log_line.fields is not None:
        return log_line
    return LogLine(line, _journal_fields(record, log_line.text))


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
