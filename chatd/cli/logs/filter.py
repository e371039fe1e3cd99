"""Selection of log lines by chat, event, level and time."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import translate
from typing import Any

from chatd.cli.logs.parse import LogLine
from chatd.cli.logs.times import parse_time
from chatd.logs.serialize import TIMESTAMP_LENGTH

_JOURNAL_MARKER = b'"__REALTIME_TIMESTAMP"'
_TIMESTAMP_PREFIX = b'{"timestamp": "'
LEVELS = ("debug", "info", "warning", "error", "critical")


@dataclass(slots=True)
class LogFilter:
    """Filter of log lines. ``since`` and ``until`` are results of ``parse_time``.

    A line that is no event has no chat, event or level, so any of these criteria excludes it. Its time
    is that of the event before it.
    """

    chat: str | None = None
    """Id of a chat, or the start of it."""
    event: str | None = None
    """Name of an event, or a pattern with ``*``."""
    level: str = "debug"
    """Lowest level."""
    since: str | None = None
    until: str | None = None
    _line_patterns: tuple[re.Pattern[bytes], ...] = field(init=False)
    _levels: frozenset[str] = field(init=False)
    _event_pattern: re.Pattern[str] | None = field(init=False)
    _previous_in_range: bool = field(init=False)

    def __post_init__(self) -> None:
        self.chat = self.chat.lower() if self.chat else None
        self._event_pattern = re.compile(translate(self.event)) if self.event else None
        self._levels = frozenset(LEVELS[LEVELS.index(self.level) :])
        self._line_patterns = tuple(self._build_line_patterns())
        self._previous_in_range = self.since is None

    def _build_line_patterns(self) -> Iterator[re.Pattern[bytes]]:
        """Yield patterns that every matching line contains, the rarest first."""
        literal = re.split(r"[*?\[]", self.event)[0] if self.event else ""
        for text in filter(None, (self.chat, literal)):
            yield re.compile(re.escape(text).encode())
        if self.level != LEVELS[0]:
            named = "|".join(sorted(self._levels)).encode()
            yield re.compile(rb"level\W{1,6}(?:" + named + rb")")

    def prefilter(self, block: bytes) -> Iterator[bytes]:
        """Yield the lines of a block that may match, without parsing each as JSON.

        The searched texts need no escaping in JSON, so a matching line contains them literally. This
        does not hold for records of the journal, which may have bytes and levels as numbers.
        """
        if not self._line_patterns or _JOURNAL_MARKER in block:
            yield from filter(self._may_be_in_range, block.split(b"\n")[:-1])
            return
        first, *others = self._line_patterns
        end = 0
        while match := first.search(block, end):
            start, end = block.rfind(b"\n", 0, match.start()) + 1, block.find(b"\n", match.end())
            line = block[start:end]
            if all(pattern.search(line) for pattern in others) and self._may_be_in_range(line):
                yield line

    def _may_be_in_range(self, line: bytes) -> bool:
        """Return False if the timestamp at the start of the line is out of range."""
        if (self.since is None and self.until is None) or not line.startswith(_TIMESTAMP_PREFIX):
            return True
        timestamp = line[len(_TIMESTAMP_PREFIX) : len(_TIMESTAMP_PREFIX) + TIMESTAMP_LENGTH].decode(
            "ascii", "replace"
        )
        self._previous_in_range = self._is_in_range(timestamp)
        return self._previous_in_range

    def matches(self, log_line: LogLine) -> bool:
        """Return whether a parsed line meets all criteria."""
        fields = log_line.fields
        if fields is None:
            events_only = self.chat or self._event_pattern or self.level != LEVELS[0]
            return self._previous_in_range and not events_only
        self._previous_in_range = self._is_in_range(fields.get("timestamp"))
        return (
            self._previous_in_range
            and fields.get("level") in self._levels
            and (
                self._event_pattern is None
                or self._event_pattern.match(fields["event"]) is not None
            )
            and (self.chat is None or self._matches_chat(fields.get("chat_id")))
        )

    def _matches_chat(self, chat_id: Any) -> bool:
        return isinstance(chat_id, str) and chat_id.startswith(self.chat or "")

    def _is_in_range(self, timestamp: Any) -> bool:
        if self.since is None and self.until is None:
            return True
        if not isinstance(timestamp, str):
            return self._previous_in_range
        if len(timestamp) != TIMESTAMP_LENGTH or not timestamp.endswith("Z"):
            try:
                timestamp = parse_time(timestamp, datetime.now(UTC))
            except (ValueError, OverflowError):
                return self._previous_in_range
        return (self.since is None or self.since <= timestamp) and (
            self.until is None or timestamp <= self.until
        )
