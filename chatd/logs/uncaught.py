"""Logging of uncaught exceptions: in the program, in threads and in finalizers.

Python would print them over many lines, with a message that may quote the content of a chat.
"""

import sys
import threading
from types import TracebackType
from typing import Any

import structlog

_log = structlog.get_logger()


def log_uncaught() -> None:
    """Log uncaught exceptions instead of printing them. Ctrl-C is left to Python."""
    sys.excepthook = _excepthook
    threading.excepthook = _threading_excepthook
    sys.unraisablehook = _unraisablehook


def _excepthook(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    if issubclass(kind, Exception):
        _log.error("process.uncaught", where="program", exc_info=error)
    else:
        sys.__excepthook__(kind, error, traceback)


def _threading_excepthook(raised: threading.ExceptHookArgs) -> None:
    name = raised.thread.name if raised.thread else "thread"
    _log.error("process.uncaught", where=name, exc_info=raised.exc_value)


def _unraisablehook(raised: Any) -> None:
    where = getattr(raised.object, "__qualname__", type(raised.object).__qualname__)
    _log.error("process.uncaught", where=where, exc_info=raised.exc_value)
