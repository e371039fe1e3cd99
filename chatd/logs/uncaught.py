"""Logging of uncaught exceptions: in the program, in threads, in finalizers and in the event loop.

Python would print them over many lines, with a message that may quote the content of a chat.
"""

import asyncio
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


def log_unhandled(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Handle what an event loop reports: log it, unless it is a connection that nobody waits for.

    asyncpg leaves a future with the end of its connection behind when an attempt to connect is cancelled.
    """
    future = context.get("future")
    is_task = isinstance(future, asyncio.Task)
    if isinstance(context.get("exception"), OSError) and future is not None and not is_task:
        return
    loop.default_exception_handler(context)


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
