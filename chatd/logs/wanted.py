"""Which entries somebody wants to see."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import translate
from typing import Any

from chatd.logs.reading import Entry
from chatd.logs.times import STAMP_LENGTH, moment

_OF_JOURNAL = b'"__REALTIME_TIMESTAMP"'
_FRONT = b'{"timestamp": "'
LEVELS = ("debug", "info", "warning", "error", "critical")


@dataclass(slots=True)
class Wanted:
    """A filter: what is not given is not asked about. ``since`` and ``until`` are from ``moment``.

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
    _needles: tuple[re.Pattern[bytes], ...] = field(init=False)
    _levels: frozenset[str] = field(init=False)
    _pattern: re.Pattern[str] | None = field(init=False)
    _in_time: bool = field(init=False)

    def __post_init__(self) -> None:
        self.chat = self.chat.lower() if self.chat else None
        self._pattern = re.compile(translate(self.event)) if self.event else None
        self._levels = frozenset(LEVELS[LEVELS.index(self.level) :])
        self._needles = tuple(self._told())
        self._in_time = self.since is None

    def _told(self) -> Iterator[re.Pattern[bytes]]:
        """What must be in a line that is wanted, the rarest first."""
        literal = re.split(r"[*?\[]", self.event)[0] if self.event else ""
        for text in filter(None, (self.chat, literal)):
            yield re.compile(re.escape(text).encode())
        if self.level != LEVELS[0]:
            named = "|".join(sorted(self._levels)).encode()
            yield re.compile(rb"level\W{1,6}(?:" + named + rb")")

    def among(self, block: bytes) -> Iterator[bytes]:
        """Those lines of a block that may be wanted, found without reading each as JSON.

        What is asked for stands in a line as it is, since it needs no escape in JSON; but the journal
        may show bytes as numbers, and knows the level by a number.
        """
        if not self._needles or _OF_JOURNAL in block:
            yield from filter(self._may_be_in_time, block.split(b"\n")[:-1])
            return
        first, *others = self._needles
        place = 0
        while found := first.search(block, place):
            start, place = block.rfind(b"\n", 0, found.start()) + 1, block.find(b"\n", found.end())
            line = block[start:place]
            if all(needle.search(line) for needle in others) and self._may_be_in_time(line):
                yield line

    def _may_be_in_time(self, line: bytes) -> bool:
        """False when the time at the very front of a line says so."""
        if (self.since is None and self.until is None) or not line.startswith(_FRONT):
            return True
        timestamp = line[len(_FRONT) : len(_FRONT) + STAMP_LENGTH].decode("ascii", "replace")
        self._in_time = self._is_in_time(timestamp)
        return self._in_time

    def wants(self, entry: Entry) -> bool:
        fields = entry.fields
        if fields is None:
            asked = self.chat or self._pattern or self.level != LEVELS[0]
            return self._in_time and not asked
        self._in_time = self._is_in_time(fields.get("timestamp"))
        return (
            self._in_time
            and fields.get("level") in self._levels
            and (self._pattern is None or self._pattern.match(fields["event"]) is not None)
            and (self.chat is None or self._is_of_chat(fields.get("chat_id")))
        )

    def _is_of_chat(self, chat_id: Any) -> bool:
        return isinstance(chat_id, str) and chat_id.startswith(self.chat or "")

    def _is_in_time(self, timestamp: Any) -> bool:
        if self.since is None and self.until is None:
            return True
        if not isinstance(timestamp, str):
            return self._in_time
        if len(timestamp) != STAMP_LENGTH or not timestamp.endswith("Z"):
            try:
                timestamp = moment(timestamp, datetime.now(UTC))
            except (ValueError, OverflowError):
                return self._in_time
        return (self.since is None or self.since <= timestamp) and (
            self.until is None or timestamp <= self.until
        )
