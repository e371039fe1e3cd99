"""The log: one line per event, with fields, always to standard error.

Standard output belongs to what a command answers (the reply of ``demo``, the script of ``migrate
sql``, ``--json``), so that it can be piped while the log is watched; service managers and
containers collect both. On a terminal the lines are coloured for eyes, elsewhere each is one JSON
object: ``timestamp`` (ISO 8601, UTC), ``level``, ``event``, ``logger`` and the event's own fields.

Rooms take a logger with ``structlog.get_logger(__name__)`` and never import this module, which is
called once at start, and again on a reload: the level, the format and the stream can change under
loggers that are cached already. Event names are dotted and lower-case. A line of a library that
logs prose has the event ``library.message`` and its text in ``message``; libraries are heard from
``warning`` up (``info`` when the level is ``debug``), because at their own debug level the SDKs
print requests, and with them what people wrote.

Logging never raises and never prints a secret: every string goes through the boundary that error
texts go through, keys that are named like a secret are hidden, what cannot be serialised is shown
as text, and a stream that is gone swallows the line.
"""

import json
import logging
import re
import sys
import traceback
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from math import isfinite
from typing import Any, Literal, TextIO
from uuid import UUID

import structlog
from structlog.typing import FilteringBoundLogger, Processor
from typing_extensions import override

from chatd.domain.failure import LONGEST_ERROR, clean

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "json", "console"]
Event = MutableMapping[str, Any]

HIDDEN = "[redacted]"
_UNSHOWABLE = "<{} that cannot be shown>"
LIBRARY_EVENT = "library.message"
DEEPEST = 6
"""Levels of nesting that are written; also what ends a value that contains itself."""
WIDEST = 100
"""Entries of one container that are written."""

_EVENT = re.compile(r"[a-z0-9_.]{1,60}")
"""A well-formed event name; anything else may hold anything, and is cleaned."""
_SECRET_KEY = re.compile(
    r"(?i)(^|[_-])(api[_-]?key|authorization|cookie|credentials?|passw(or)?d|secret|token)$"
)


def configure(
    *,
    level: Level = "info",
    format: Format = "auto",  # noqa: A002  (the setting's name)
    stream: TextIO | None = None,
) -> None:
    """Set the log up, or change it.

    ``level`` is the least serious level that is written. ``format`` ``auto`` means ``console`` when
    the stream is a terminal and ``json`` otherwise. ``stream`` is standard error unless given.
    """
    _sink.stream = stream or sys.stderr
    number = logging.getLevelNamesMapping()[level.upper()]
    _set_level(number)
    console = _is_terminal(_sink.stream) if format == "auto" else format == "console"
    _chain[:] = _console(colors=_is_terminal(_sink.stream)) if console else [*_COMMON, _as_json]
    structlog.configure(
        processors=_chain,
        wrapper_class=_Logger,
        logger_factory=_Sink.named,
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers[:] = [_Libraries()]
    root.setLevel(logging.INFO if number <= logging.DEBUG else max(number, logging.WARNING))
    logging.captureWarnings(capture=True)


class _Sink:
    """Where lines end. Named ones share the stream of the first, so that it can be changed."""

    stream: TextIO = sys.stderr

    def __init__(self, name: str | None = None) -> None:
        self.name = name

    @staticmethod
    def named(*names: str) -> "_Sink":
        return _Sink(names[0] if names else None)

    def write(self, line: str) -> None:
        """One write per line, so that lines of several threads do not mix."""
        stream = _sink.stream
        try:
            try:
                stream.write(line + "\n")
            except UnicodeEncodeError:
                stream.write(line.encode("ascii", "backslashreplace").decode() + "\n")
            stream.flush()
        except (OSError, ValueError):
            return  # a closed stream, a full disk: there is nowhere left to say so

    debug = info = warning = error = critical = exception = log = msg = write


_sink = _Sink()
_chain: list[Processor] = []
"""The processors in force. Cached loggers hold this very list, so it is changed in place."""

_Logger: type[FilteringBoundLogger] = type(
    "_Logger", (structlog.make_filtering_bound_logger(logging.INFO),), {}
)


def _set_level(number: int) -> None:
    """Give the class of all loggers the methods of another level: cached ones follow at once."""
    for name, method in vars(structlog.make_filtering_bound_logger(number)).items():
        if not name.startswith("__"):
            setattr(_Logger, name, method)


class _Libraries(logging.Handler):
    """Lines of libraries that log through ``logging``, in the form of our own."""

    @override
    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001  (a library's arguments may do anything)
            message = str(record.msg)
        event: Event = {"event": LIBRARY_EVENT, "message": message}
        if record.exc_info:
            event["exc_info"] = record.exc_info
        _emit(_Sink(record.name), record.levelname.lower(), event)


def _emit(sink: _Sink, level: str, event: Event) -> None:
    """Run an event through the chain by hand, for lines that no bound logger wrote."""
    value: Any = event
    for processor in _chain:
        value = processor(sink, level, value)
    sink.write(value)


def _line(logger: Any, method: str, event: Event) -> Event:
    """What every line has comes first, so that a person finds it; the fields are made fit."""
    name = event.pop("event", None)
    return {
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": {"exception": "error", "warn": "warning"}.get(method, method),
        "event": name if isinstance(name, str) and _EVENT.fullmatch(name) else _shown(name),
        "logger": getattr(logger, "name", None),
        **{key: _shown(value, key) for key, value in event.items()},
    }


def _failure(_logger: Any, _method: str, event: Event) -> Event:
    """Replace ``exc_info`` by what it means: type, message and traceback."""
    info = event.pop("exc_info", None)
    error = sys.exc_info()[1] if info is True else info[1] if isinstance(info, tuple) else info
    if isinstance(error, BaseException):
        event["exception"] = {
            "type": type(error).__qualname__,
            "message": _safe(str, error),
            "traceback": "".join(_safe(traceback.format_exception, error)),
        }
    return event


_COMMON: list[Processor] = [structlog.contextvars.merge_contextvars, _failure, _line]


def _as_json(_logger: Any, _method: str, event: Event) -> str:
    return json.dumps(event)


def _console(*, colors: bool) -> list[Processor]:
    renderer = structlog.dev.ConsoleRenderer(
        colors=colors, exception_formatter=structlog.dev.plain_traceback
    )
    return [*_COMMON, _flat, renderer]


def _flat(_logger: Any, _method: str, event: Event) -> Event:
    """On the console a traceback is its own lines, below the event."""
    exception = event.get("exception")
    if isinstance(exception, dict):
        event["exception"] = exception["traceback"]
    return event


def _shown(value: Any, key: str = "") -> Any:
    """``_fit``, also for a value that raises when it is looked at."""
    try:
        return _fit(value, key)
    except Exception:  # noqa: BLE001  (a foreign mapping may do anything)
        return _UNSHOWABLE.format(type(value).__qualname__)


def _fit(value: Any, key: str = "", depth: int = 0) -> Any:  # noqa: C901 - one dispatch
    """A value as JSON can hold it and as everybody may see it."""
    if key and _SECRET_KEY.search(key) and isinstance(value, str | bytes):
        return HIDDEN
    match value:
        case None | bool():
            return value
        case str():
            return _text(value)
        case int():
            return int(value) if abs(value) < 2**63 else f"<integer of {value.bit_length()} bits>"
        case float():
            return value if isfinite(value) else str(value)
        case Mapping() | list() | tuple() | set() | frozenset() if depth == DEEPEST:
            return "…"
        case Mapping():
            items = list(value.items())[:WIDEST]
            return {_text(_safe(str, k)): _fit(v, _safe(str, k), depth + 1) for k, v in items}
        case list() | tuple() | set() | frozenset():
            return [_fit(inner, "", depth + 1) for inner in list(value)[:WIDEST]]
        case datetime():
            return value.isoformat()
        case UUID():
            return str(value)  # an id of ours: no secret to look for
        case _:
            return _text(_safe(str, value))


def _text(text: str) -> str:
    """Without secrets; a text of many lines, such as a traceback, is bounded per line only.

    Unless a key in PEM form may be in it: that is many lines, and can be seen only as a whole.
    """
    if len(text) <= LONGEST_ERROR or "PRIVATE KEY-----" in text:
        return clean(text)
    return "\n".join(clean(line) for line in text.split("\n"))


def _safe(function: Any, value: Any) -> Any:
    """What a value says of itself, or its type when even that fails."""
    try:
        return function(value)
    except Exception:  # noqa: BLE001  (anything may happen in a foreign __str__)
        return _UNSHOWABLE.format(type(value).__qualname__)


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except (AttributeError, ValueError):
        return False
