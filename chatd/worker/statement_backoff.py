"""Pauses between tries of a statement while the database is unavailable."""

from random import random
from typing import Final

from chatd.supervision.backoff import Backoff

_FIRST_SECONDS: Final = 0.05
_MAX_SECONDS: Final = 1.0


def statement_backoff() -> Backoff:
    """Return the pauses of one statement that is repeated until the database answers."""
    return Backoff(first_seconds=_FIRST_SECONDS, max_seconds=_MAX_SECONDS, random=random)
