"""Renderer of log lines for people: one line each, important fields first, tracebacks below."""

import json
import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from rich.color import ColorSystem
from rich.style import Style

from chatd.cli.logs.parse import LogLine
from chatd.cli.output import TEXT_LAYOUT
from chatd.domain.sanitize import visible

_to_json = json.JSONEncoder(ensure_ascii=False).encode
_UNQUOTED_VALUE = re.compile(r"[\w.:/@%+-]+")
_visible = partial(visible, keep=TEXT_LAYOUT)
_MAX_INLINE_LENGTH = 120
"""Length of a list item beyond which each item gets a line of its own."""
_SHORT_ID_LENGTH = 8
"""Characters of an id that are shown: enough for ``--chat`` and ``chatd show``."""
_LEADING_FIELDS = ("chat_id", "epoch", "request_id")
_TRAILING_FIELDS = ("worker_id", "logger")
_SHORTENED_FIELDS = frozenset({"chat_id", "worker_id"})
_FIELDS_SHOWN_ELSEWHERE = frozenset({"timestamp", "level", "event", "exception"})

_LEVEL_STYLES = {
    "debug": "dim", "info": "green", "warning": "yellow", "error": "bold red", "critical": "bold red",
}  # fmt: skip
_STYLES = {
    name: Style.parse(style)
    for name, style in {
        **_LEVEL_STYLES,
        "time": "dim",
        "event": "bold",
        "key": "cyan",
        "plain": "",
    }.items()
}


class LogRenderer:
    """Renderer of log lines, with ``colors`` for a terminal."""

    def __init__(self, *, colors: bool) -> None:
        self._color_system = ColorSystem.STANDARD if colors else None
        self._level_labels = {level: self._styled(f"{level:<8}", level) for level in _LEVEL_STYLES}
        self._key_labels: dict[str, str] = {}

    def render(self, log_line: LogLine) -> str:
        """Return a line and the lines below it, without a newline at the end."""
        fields = log_line.fields
        if fields is None:
            return _visible(log_line.text)
        level = str(fields.get("level"))
        timestamp = str(fields.get("timestamp", "")).replace("T", " ", 1)
        head = (
            self._styled(_visible(f"{timestamp:<24}"), "time"),
            self._level_labels.get(level) or _visible(f"{level:<8}"),
            self._styled(_visible(fields["event"]), "event"),
        )
        prefix = (_visible(log_line.prefix),) if log_line.prefix else ()
        extra_lines: list[str] = []
        pairs = self._field_pairs(fields, extra_lines)
        return "\n".join((" ".join((*prefix, *head, *pairs)), *extra_lines))

    def _field_pairs(self, fields: Mapping[str, Any], extra_lines: list[str]) -> Iterator[str]:
        """Yield each field as key=value. Append long ones to ``extra_lines`` instead."""
        middle = [
            key for key in fields if key not in _LEADING_FIELDS and key not in _TRAILING_FIELDS
        ]
        for key in (*_LEADING_FIELDS, *middle, *_TRAILING_FIELDS):
            value = fields.get(key)
            if key in _FIELDS_SHOWN_ELSEWHERE or value is None:
                continue
            if isinstance(value, list) and any(map(_is_long, value)):
                extra_lines += [
                    f"    {_visible(line)}" for item in value for line in str(item).split("\n")
                ]
                continue
            if key in _SHORTENED_FIELDS and isinstance(value, str):
                value = value[:_SHORT_ID_LENGTH]
            yield self._key(key) + _format_value(value)
        exception = fields.get("exception")
        if isinstance(exception, Mapping):
            text = str(exception.get("traceback") or exception)
            extra_lines += [f"    {_visible(line)}" for line in text.rstrip().split("\n")]
        elif exception is not None:
            extra_lines.append(f"    {_visible(str(exception))}")

    def _key(self, key: str) -> str:
        if key not in self._key_labels:
            self._key_labels[key] = self._styled(_visible(key), "key") + "="
        return self._key_labels[key]

    def _styled(self, text: str, style: str) -> str:
        return _STYLES[style].render(text, color_system=self._color_system)


def _is_long(value: Any) -> bool:
    text = str(value)
    return len(text) > _MAX_INLINE_LENGTH or "\n" in text


def _format_value(value: Any) -> str:
    kind = type(value)
    if kind is int or kind is float:
        return repr(value)
    if kind is str and _UNQUOTED_VALUE.fullmatch(value):
        return str(value)
    return _visible(_to_json(value))
