"""What nobody caught is an event too: in the program, in a thread, or where nobody could catch it.

Python would print it over many lines, with the words of its message, which may quote what was said.
"""

import sys
import threading
from types import TracebackType
from typing import Any

import structlog

_log = structlog.get_logger()


def log_uncaught() -> None:
    """Log, from now on, what Python would print. Ctrl-C stays Python's."""
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
