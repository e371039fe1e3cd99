"""Entries for eyes: one line each, what matters first, tracebacks below."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from rich.color import ColorSystem
from rich.style import Style

from chatd.logs.reading import Entry

_AS_JSON = json.JSONEncoder(ensure_ascii=False).encode
_PLAIN = re.compile(r"[\w.:/@%+-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_LONG = 120
"""Characters of a text in a list, from which on each has a line of its own."""
_ID = 8
"""Characters of an id that are shown: enough for ``--chat`` and for ``chatd show``."""
_FIRST = ("chat_id", "epoch", "request_id")
_LAST = ("worker_id", "logger")
_SHORT = frozenset({"chat_id", "worker_id"})
_ELSEWHERE = frozenset({"timestamp", "level", "event", "exception"})

_LEVELS = {
    "debug": "dim", "info": "green", "warning": "yellow", "error": "bold red", "critical": "bold red",
}  # fmt: skip
_STYLES = {
    name: Style.parse(style)
    for name, style in {
        **_LEVELS,
        "time": "dim",
        "event": "bold",
        "key": "cyan",
        "plain": "",
    }.items()
}


class Page:
    """Turns entries into text; ``colours`` for a terminal."""

    def __init__(self, *, colours: bool) -> None:
        self._system = ColorSystem.STANDARD if colours else None
        self._level = {level: self._styled(f"{level:<8}", level) for level in _LEVELS}
        self._keys: dict[str, str] = {}

    def line(self, entry: Entry) -> str:
        """The entry, with what belongs below it; no newline at the end."""
        fields = entry.fields
        if fields is None:
            return _visible(entry.text)
        level = str(fields.get("level"))
        when = str(fields.get("timestamp", "")).replace("T", " ", 1)
        head = (
            self._styled(_visible(f"{when:<24}"), "time"),
            self._level.get(level) or _visible(f"{level:<8}"),
            self._styled(_visible(fields["event"]), "event"),
        )
        before = (_visible(entry.before),) if entry.before else ()
        below: list[str] = []
        pairs = self._pairs(fields, below)
        return "\n".join((" ".join((*before, *head, *pairs)), *below))

    def _pairs(self, fields: Mapping[str, Any], below: list[str]) -> Iterator[str]:
        """Each field as key=value; those that need lines of their own go ``below``."""
        middle = [key for key in fields if key not in _FIRST and key not in _LAST]
        for key in (*_FIRST, *middle, *_LAST):
            value = fields.get(key)
            if key in _ELSEWHERE or value is None:
                continue
            if isinstance(value, list) and any(map(_is_long, value)):
                below += [f"    {_visible(line)}" for one in value for line in str(one).split("\n")]
                continue
            if key in _SHORT and isinstance(value, str):
                value = value[:_ID]
            yield self._key(key) + _value(value)
        exception = fields.get("exception")
        if isinstance(exception, Mapping):
            text = str(exception.get("traceback") or exception)
            below += [f"    {_visible(line)}" for line in text.rstrip().split("\n")]
        elif exception is not None:
            below.append(f"    {_visible(str(exception))}")

    def _key(self, key: str) -> str:
        if key not in self._keys:
            self._keys[key] = self._styled(_visible(key), "key") + "="
        return self._keys[key]

    def _styled(self, text: str, style: str) -> str:
        return _STYLES[style].render(text, color_system=self._system)


def _is_long(value: Any) -> bool:
    text = str(value)
    return len(text) > _LONG or "\n" in text


def _value(value: Any) -> str:
    kind = type(value)
    if kind is int or kind is float:
        return repr(value)
    if kind is str and _PLAIN.fullmatch(value):
        return str(value)
    return _visible(_AS_JSON(value))


def _visible(text: str) -> str:
    """What a terminal would obey is shown instead: a log may hold anything."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
