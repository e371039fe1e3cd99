"""Which entries somebody wants to see."""

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
    """A filter: what is not given is not asked about. ``since`` and ``until`` are from ``parse_time``.

    A line that is no event has no chat, no event and no level, so it is wanted only if none is asked
    for; in time it stands with the event before it.
    """

    chat: str | None = None
    """The id of a chat, or how it begins."""
    event: str | None = None
    """A name, or a pattern with ``*``."""
    level: str = "debug"
    """The least serious one."""
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
        """What must be in a line that is wanted, the rarest first."""
        literal = re.split(r"[*?\[]", self.event)[0] if self.event else ""
        for text in filter(None, (self.chat, literal)):
            yield re.compile(re.escape(text).encode())
        if self.level != LEVELS[0]:
            named = "|".join(sorted(self._levels)).encode()
            yield re.compile(rb"level\W{1,6}(?:" + named + rb")")

    def prefilter(self, block: bytes) -> Iterator[bytes]:
        """Those lines of a block that may be wanted, found without reading each as JSON.

        What is asked for stands in a line as it is, since it needs no escape in JSON; but the journal
        may show bytes as numbers, and knows the level by a number.
        """
        if not self._line_patterns or _JOURNAL_MARKER in block:
            yield from filter(self._may_be_in_range, block.split(b"\n")[:-1])
            return
        first, *others = self._line_patterns
        place = 0
        while found := first.search(block, place):
            start, place = block.rfind(b"\n", 0, found.start()) + 1, block.find(b"\n", found.end())
            line = block[start:place]
            if all(needle.search(line) for needle in others) and self._may_be_in_range(line):
                yield line

    def _may_be_in_range(self, line: bytes) -> bool:
        """False when the time at the very front of a line says so."""
        if (self.since is None and self.until is None) or not line.startswith(_TIMESTAMP_PREFIX):
            return True
        timestamp = line[len(_TIMESTAMP_PREFIX) : len(_TIMESTAMP_PREFIX) + TIMESTAMP_LENGTH].decode(
            "ascii", "replace"
        )
        self._previous_in_range = self._is_in_range(timestamp)
        return self._previous_in_range

    def matches(self, log_line: LogLine) -> bool:
        fields = log_line.fields
        if fields is None:
            asked = self.chat or self._event_pattern or self.level != LEVELS[0]
            return self._previous_in_range and not asked
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
