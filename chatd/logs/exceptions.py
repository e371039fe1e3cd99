"""Exceptions in the log: type and frames, and the message if it is safe.

A message may quote the content of a chat: ``ValueError: 'the user's own words'``, a database error
with its row, a warning of pydantic with its ``input_value``. A message is therefore written only if
the type of the exception describes the program or the system. Frames show code, never values.
"""

import traceback
from collections.abc import Iterator
from typing import Any

from chatd.domain.errors import ChatdError, Refused
from chatd.llm.errors import ProviderError
from chatd.logs.serialize import call_or_placeholder
from chatd.supervision.child import FatalError
from chatd.supervision.child_run import ChildError
from chatd.supervision.restart_budget import RestartBudgetExceeded

WITHHELD_MESSAGE = "(not logged: it may quote the content of a chat)"

_SAFE_BUILTIN_ERRORS = frozenset(
    {
        AttributeError, ImportError, IndexError, MemoryError, ModuleNotFoundError, NameError,
        NotImplementedError, RecursionError, TypeError, UnboundLocalError, ZeroDivisionError,
    }
)  # fmt: skip
_SAFE_ERRORS = (ChatdError, ChildError, FatalError, OSError, RestartBudgetExceeded)
_ERRORS_QUOTING_CONTENT = (ProviderError, Refused)
"""Types of chatd whose messages include text of others."""

_MAX_CHAIN_DEPTH, _MAX_GROUP_MEMBERS = 8, 8
"""Maximum links of a chain, and members of a group, that are written."""


def exception_fields(error: BaseException) -> dict[str, Any]:
    """Return type, message and traceback of an exception."""
    return {
        "type": type(error).__qualname__,
        "message": loggable_message(error),
        "traceback": "".join(_traceback_lines(error, 0)),
    }


def loggable_message(error: BaseException) -> str:
    """Return the message of an exception if it is safe to log, otherwise a placeholder."""
    if isinstance(error, BaseExceptionGroup):
        return f"group of {len(error.exceptions)}"
    safe = isinstance(error, _SAFE_ERRORS) and not isinstance(error, _ERRORS_QUOTING_CONTENT)
    if safe or type(error) in _SAFE_BUILTIN_ERRORS:
        return str(call_or_placeholder(str, error))
    return WITHHELD_MESSAGE if call_or_placeholder(str, error) else ""


def _traceback_lines(error: BaseException, depth: int) -> Iterator[str]:
    """Yield the traceback as Python prints it, causes first."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None and depth < _MAX_CHAIN_DEPTH:
        yield from _traceback_lines(cause, depth + 1)
        how = "direct cause of" if error.__cause__ else "context of"
        yield f"\nThe above exception was the {how} the following exception:\n\n"
    if error.__traceback__ is not None:
        yield "Traceback (most recent call last):\n"
        yield from traceback.format_tb(error.__traceback__)
    message = loggable_message(error)
    yield type(error).__qualname__ + (f": {message}" if message else "") + "\n"
    if isinstance(error, BaseExceptionGroup) and depth < _MAX_CHAIN_DEPTH:
        for number, inner in enumerate(error.exceptions[:_MAX_GROUP_MEMBERS], 1):
            yield f"  +-- {number} of {len(error.exceptions)}\n"
            for line in "".join(_traceback_lines(inner, depth + 1)).splitlines(keepends=True):
                yield f"  | {line}"
