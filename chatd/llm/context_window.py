"""Window of a model: the tokens that one call may have, and how many of them are for the history."""

import sys
from dataclasses import dataclass
from typing import Final

NEVER: Final = sys.maxsize
"""A number of tokens that no request reaches."""
_MAX_RESERVE: Final = 32_000
"""Tokens kept for the answer of a model whose configuration does not say how long its answers may be."""


@dataclass(frozen=True, slots=True)
class ContextWindow:
    """Window of ``limit`` tokens, of which ``reserve`` are kept for the answer.

    A chat is compacted once its next request has ``trigger`` tokens.
    """

    limit: int
    reserve: int
    trigger: int = NEVER

    @classmethod
    def of(cls, limit: int, *, max_output_tokens: int | None, percent: int) -> "ContextWindow":
        """Return the window of a model that is to be filled up to so many percent. 0: always."""
        reserve = min(_MAX_RESERVE, limit // 4) if max_output_tokens is None else max_output_tokens
        # A model whose answers may take the whole window would have no space for a question.
        reserve = min(reserve, limit // 2)
        trigger = (limit - reserve) * percent // 100 if percent else NEVER
        return cls(limit, reserve, trigger)

    @property
    def usable(self) -> int:
        """The tokens that a request may have."""
        return self.limit - self.reserve
