"""An exception for the log: what it is and where it was raised, and of its words those that are safe.

A message may quote what was being worked on: ``ValueError: 'the user's own words'``, a database error
with the row it is about, a warning of pydantic with its ``input_value``. So a message is written only
if it is of a kind that speaks of the program or of the system. Frames show code, never values.
"""

import traceback
from collections.abc import Iterator
from typing import Any

from chatd.domain.errors import ChatdError, Refused
from chatd.llm.errors import ProviderError
from chatd.logs.fit import safely
from chatd.supervision.actor import FatalError
from chatd.supervision.budget import RestartBudgetExceeded
from chatd.supervision.life import ChildError

WITHHELD = "(not logged: it may quote what was said)"

_SPEAKS_OF_THE_PROGRAM = frozenset(
    {
        AttributeError, ImportError, IndexError, MemoryError, ModuleNotFoundError, NameError,
        NotImplementedError, RecursionError, TypeError, UnboundLocalError, ZeroDivisionError,
    }
)  # fmt: skip
_OURS = (ChatdError, ChildError, FatalError, OSError, RestartBudgetExceeded)
_QUOTING = (ProviderError, Refused)
"""Ours, with the words of others in them."""

_DEEPEST, _WIDEST = 8, 8
"""Links of a chain, and members of a group, that are written."""


def told(error: BaseException) -> dict[str, Any]:
    """Type, message and traceback of an exception."""
    return {
        "type": type(error).__qualname__,
        "message": message_of(error),
        "traceback": "".join(_lines(error, 0)),
    }


def message_of(error: BaseException) -> str:
    """What the exception says, if that is safe to write down."""
    if isinstance(error, BaseExceptionGroup):
        return f"group of {len(error.exceptions)}"
    safe = isinstance(error, _OURS) and not isinstance(error, _QUOTING)
    if safe or type(error) in _SPEAKS_OF_THE_PROGRAM:
        return str(safely(str, error))
    return WITHHELD if safely(str, error) else ""


def _lines(error: BaseException, depth: int) -> Iterator[str]:
    """As Python shows it: what led to it first."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None and depth < _DEEPEST:
        yield from _lines(cause, depth + 1)
        how = "direct cause of" if error.__cause__ else "context of"
        yield f"\nThe above exception was the {how} the following exception:\n\n"
    if error.__traceback__ is not None:
        yield "Traceback (most recent call last):\n"
        yield from traceback.format_tb(error.__traceback__)
    message = message_of(error)
    yield type(error).__qualname__ + (f": {message}" if message else "") + "\n"
    if isinstance(error, BaseExceptionGroup) and depth < _DEEPEST:
        for number, inner in enumerate(error.exceptions[:_WIDEST], 1):
            yield f"  +-- {number} of {len(error.exceptions)}\n"
            for line in "".join(_lines(inner, depth + 1)).splitlines(keepends=True):
                yield f"  | {line}"
