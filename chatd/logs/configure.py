"""Configuration of the log: chatd logs through structlog, libraries through ``logging``."""

import json
import logging
import os
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Final, Literal, TextIO

import structlog
from structlog.typing import FilteringBoundLogger, Processor
from typing_extensions import override

from chatd.domain.sanitize import visible
from chatd.logs import journald
from chatd.logs.exceptions import exception_fields
from chatd.logs.serialize import serialize, serialize_fields, timestamp

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "json", "console"]
Fields = MutableMapping[str, Any]

LIBRARY_EVENT = "library.message"

_EVENT_NAME = re.compile(r"[a-z0-9_.]{1,60}")
"""Well-formed event names. Any other text may contain a secret and is cleaned."""
_QUOTED_INPUT = re.compile(r"input_value=.*?(?=, input_type|\]|$)", re.DOTALL)
"""Quoted input in warnings of pydantic."""


def configure(
    *,
    level: Level = "info",
    format: Format = "auto",  # noqa: A002  (the setting's name)
    stream: TextIO | None = None,
) -> None:
    """Configure the log, or change its configuration.

    ``level`` is the lowest level that is written. ``format`` ``auto`` means ``console`` if the stream
    is a terminal and ``json`` otherwise. ``stream`` defaults to standard error.
    """
    _sink.stream = stream or sys.stderr
    _sink.is_journal = journald.is_journal_stream(_sink.stream, os.environ)
    number = logging.getLevelNamesMapping()[level.upper()]
    _set_level(number)
    console = _is_terminal(_sink.stream) if format == "auto" else format == "console"
    _processors[:] = (
        _console_processors(colors=_is_terminal(_sink.stream))
        if console
        else [*_COMMON_PROCESSORS, _render_json]
    )
    structlog.configure(
        processors=_processors,
        wrapper_class=_Logger,
        logger_factory=_Sink.named,
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers[:] = [_LibraryHandler()]
    root.setLevel(logging.INFO if number <= logging.DEBUG else max(number, logging.WARNING))
    logging.captureWarnings(capture=True)


def bind_process(**fields: str) -> None:
    """Add fields, such as ``worker_id``, to every later line of this process."""
    _process_fields.update(fields)


class _Sink:
    """Output of a logger. All share the stream of ``_sink``, so that it can be changed."""

    stream: TextIO = sys.stderr
    is_journal = False

    def __init__(self, name: str | None = None) -> None:
        self.name = name

    @staticmethod
    def named(*names: str) -> "_Sink":
        """Return the output of the logger with the first of these names."""
        return _Sink(names[0] if names else None)

    def write(self, line: str, level: str = "info") -> None:
        """Write one line, in one call so that lines of several threads do not mix."""
        stream = _sink.stream
        if _sink.is_journal:
            line = journald.with_priority(line, level)
        try:
            try:
                stream.write(line + "\n")
            except UnicodeEncodeError:
                stream.write(line.encode("ascii", "backslashreplace").decode() + "\n")
            stream.flush()
        except (OSError, ValueError):
            return  # a closed stream or a full disk: there is nowhere to report it

    def msg(self, line: str) -> None:
        """Write a line at level info, under the name that structlog calls."""
        self.write(line)

    info = log = msg

    def debug(self, line: str) -> None:
        self.write(line, "debug")

    def warning(self, line: str) -> None:
        self.write(line, "warning")

    def error(self, line: str) -> None:
        self.write(line, "error")

    exception = error

    def critical(self, line: str) -> None:
        self.write(line, "critical")


_sink = _Sink()
_process_fields: dict[str, str] = {}
_processors: list[Processor] = []
"""Processors in force. Cached loggers hold this list, so it is changed in place."""

_Logger: type[FilteringBoundLogger] = type(
    "_Logger", (structlog.make_filtering_bound_logger(logging.INFO),), {}
)


def _set_level(number: int) -> None:
    """Replace the methods of the class of all loggers, so that cached loggers change level at once."""
    for name, method in vars(structlog.make_filtering_bound_logger(number)).items():
        if not name.startswith("__"):
            setattr(_Logger, name, method)


class _LibraryHandler(logging.Handler):
    """Handler that writes the messages of libraries in the same format."""

    @override
    def emit(self, record: logging.LogRecord) -> None:
        """Write one message of a library."""
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001  (formatting foreign arguments may raise anything)
            message = str(record.msg)
        fields: Fields = {"event": LIBRARY_EVENT, "message": _library_message(record.name, message)}
        if record.exc_info:
            fields["exc_info"] = record.exc_info
        _emit(_Sink(record.name), record.levelname.lower(), fields)


def _library_message(logger: str, message: str) -> str:
    """Return a library's message without the values that some libraries quote."""
    if logger == "asyncio":  # tasks, results and arguments follow the first words
        return re.split(r"[(<\n]", message, maxsplit=1)[0].strip()
    return _QUOTED_INPUT.sub("input_value=…", message)


def _emit(sink: _Sink, level: str, fields: Fields) -> None:
    """Process and write an event of a library, for which there is no bound logger."""
    value: Any = fields
    for processor in _processors:
        value = processor(sink, level, value)
    sink.write(value, level)


_LEVELS: Final = {"exception": "error", "warn": "warning"}
"""Levels of methods with other names."""


def _add_standard_fields(logger: Any, method: str, fields: Fields) -> Fields:
    """Put the standard fields first, and serialize all others."""
    event = fields.pop("event", None)
    return {
        "timestamp": timestamp(),
        "level": _LEVELS.get(method, method),
        "event": event
        if isinstance(event, str) and _EVENT_NAME.fullmatch(event)
        else serialize(event),
        **({"logger": name} if (name := getattr(logger, "name", None)) else {}),
        **_process_fields,
        **serialize_fields(fields),
    }


def _add_exception(_logger: Any, _method: str, fields: Fields) -> Fields:
    """Replace ``exc_info`` by type, message and traceback."""
    info = fields.pop("exc_info", None)
    error = sys.exc_info()[1] if info is True else info[1] if isinstance(info, tuple) else info
    if isinstance(error, BaseException):
        fields["exception"] = exception_fields(error)
    return fields


_COMMON_PROCESSORS: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    _add_exception,
    _add_standard_fields,
]


def _render_json(_logger: Any, _method: str, fields: Fields) -> str:
    return json.dumps(fields)


def _console_processors(*, colors: bool) -> list[Processor]:
    renderer = structlog.dev.ConsoleRenderer(
        colors=colors, exception_formatter=structlog.dev.plain_traceback
    )
    return [*_COMMON_PROCESSORS, _flatten_exception, _make_visible, renderer]


def _make_visible(_logger: Any, _method: str, fields: Fields) -> Fields:
    """Replace what a terminal would execute by marks. Values that are no text are shown by ``repr``."""
    return {
        visible(key): visible(value, keep="\n\t") if isinstance(value, str) else value
        for key, value in fields.items()
    }


def _flatten_exception(_logger: Any, _method: str, fields: Fields) -> Fields:
    """Keep the traceback only, which the console prints below the event."""
    exception = fields.get("exception")
    if isinstance(exception, Mapping):
        fields["exception"] = exception["traceback"]
    return fields


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except (AttributeError, ValueError):
        return False
