"""Values as people read them: filters of the templates."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from chatd.console.forms import form_fields
from chatd.domain.duration import format_duration

STATUS_WORDS: Final[Mapping[str, str]] = {
    "waiting": "ready",
    "pending": "waiting for a worker",
    "running": "answering",
    "interrupting": "stopping",
    "requires_action": "needs you",
    "parked": "waiting for its agents",
    "error": "failed",
}
"""Statuses in words, in the order in which a filter offers them."""

_THOUSAND: Final = 1000
_SHORT_ARGS: Final = 80


def status_words(status: str) -> str:
    return STATUS_WORDS.get(status, status)


def count(number: float) -> str:
    """Return a number with at most three digits: 980, 1.2 k, 34 k, 5.6 M."""
    for unit in ("", " k", " M"):
        if number < _THOUSAND:
            return f"{number:.1f}{unit}" if unit and number < 10 else f"{number:.0f}{unit}"  # noqa: PLR2004
        number /= _THOUSAND
    return f"{number:.0f} G"


_CALL_WORDS: Final = {
    "asked": "waits for an answer",
    "ready": "about to start",
    "started": "running",
    "parked": "waits for other chats",
    "closed": "done",
}


def call_words(state: str) -> str:
    return _CALL_WORDS.get(state, state)


def executor_words(executor: str) -> str:
    return {"server": "by the server", "client": "by the client"}.get(executor, executor)


def duration(seconds: float) -> str:
    """Return a length of time, with a decimal if it is short."""
    return format_duration(seconds, decimals=1 if abs(seconds) < 10 else 0)  # noqa: PLR2004


def seconds_words(seconds: float) -> str:
    """Return a short time in milliseconds, a longer one in seconds and more."""
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else format_duration(seconds, decimals=1)


def size(number_of_bytes: int) -> str:
    return f"{count(number_of_bytes)}B"


def when(timestamp: str) -> str:
    """Return a time of the API in words, in UTC. Scripts replace it by the reader's own."""
    return datetime.fromisoformat(timestamp).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def pretty_json(value: object) -> str:
    """Return JSON that is easy to read, of JSON or of its text. Text that is none stays as it is."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return str(value)
    if isinstance(value, str):
        return value
    return json.dumps(value, indent=2, ensure_ascii=False)


def short_args(args: str) -> str:
    """Return the beginning of a call's arguments on one line."""
    line = " ".join(args.split())
    return line if len(line) <= _SHORT_ARGS else f"{line[: _SHORT_ARGS - 1]}…"


FILTERS: Final[Mapping[str, Callable[..., Any]]] = {
    "call_words": call_words,
    "count": count,
    "duration": duration,
    "executor_words": executor_words,
    "form_fields": form_fields,
    "pretty_json": pretty_json,
    "seconds_words": seconds_words,
    "short_args": short_args,
    "size": size,
    "status_words": status_words,
    "when": when,
}
