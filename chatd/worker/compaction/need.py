"""Need of a compaction: why, from how many tokens, and below how many. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from chatd.domain.failure import Failure, FailureKind
from chatd.domain.message import Message
from chatd.domain.request_size import message_tokens
from chatd.llm.context_window import ContextWindow
from chatd.worker.compaction.boundary import unanswered

MAX_TRIES = 3
"""Summaries that are asked for one need. One that helps is stored. After the last the turn fails."""
_PROGRESS_PERCENT = 95
"""A summary must leave at most this share of the tokens."""
_TAIL_SHARE, _MAX_TAIL_TOKENS = 5, 20_000
"""The newest messages that stay: this fraction of the usable window, and at most so many tokens."""
_SUMMARY_SHARE, _MAX_SUMMARY_TOKENS = 10, 8_000
"""The longest summary: this fraction of the window, and at most so many tokens."""


class CompactionReason(StrEnum):
    """Reason of a compaction."""

    SIZE = "size"
    """The next request has at least as many tokens as may be."""
    CONTEXT_LIMIT = "context_limit"
    """The provider said that the request was too long."""
    REQUEST = "request"
    """A person asked for it."""


@dataclass(frozen=True, slots=True)
class CompactionNeed:
    """A request of ``tokens`` that is to become smaller, for a model with this window."""

    reason: CompactionReason
    tokens: int
    window: ContextWindow

    @classmethod
    def refused(
        cls, tokens: int, window: ContextWindow | None, *, percent: int
    ) -> "CompactionNeed":
        """Return the need after the provider refused a request of about so many tokens."""
        limit = max(tokens if window is None else min(window.limit, tokens), 1)
        known = ContextWindow.of(
            limit, max_output_tokens=window.reserve if window else None, percent=percent
        )
        return cls(CompactionReason.CONTEXT_LIMIT, tokens, known)

    @property
    def excess(self) -> int:
        """The tokens to be freed at least."""
        return max(self.tokens - self.window.trigger + 1, 0)

    @property
    def tail_tokens(self) -> int:
        """The tokens of answered messages that stay as they are."""
        return min(self.window.usable // _TAIL_SHARE, _MAX_TAIL_TOKENS)

    def is_met(self, before: int, after: int, *, shortest: bool) -> bool:
        """Return whether a summary helps that takes a history from ``before`` to ``after`` tokens.

        If the tail is the ``shortest`` there is, it is enough that the request fits into the window.
        """
        if after * 100 > before * _PROGRESS_PERCENT:
            return False
        if self.reason is CompactionReason.REQUEST:
            return True
        return after < (self.window.usable if shortest else self.window.trigger)


def summary_tokens(window: ContextWindow | None) -> int:
    """Return the most tokens of a summary for a model with this window."""
    if window is None:
        return _MAX_SUMMARY_TOKENS
    return max(min(window.limit // _SUMMARY_SHARE, _MAX_SUMMARY_TOKENS), 1)


def context_overflow(
    messages: Sequence[Message],
    need: CompactionNeed,
    *,
    model: str,
    limit: int | None,
    calls: int,
) -> Failure:
    """Return the failure of a chat that cannot be compacted so far that the model takes it."""
    held = need.window.limit if limit is None else limit
    if calls:
        text = (
            f"the chat needs about {need.tokens:,} tokens and {model} holds {held:,}. "
            f"It was summarized {calls} times, and no summary was short enough"
        )
    else:
        newest = sum(map(message_tokens, unanswered(messages) or messages[-1:]))
        text = f"the last message alone needs about {newest:,} tokens and {model} holds {held:,}"
    return Failure(kind=FailureKind.CONTEXT_OVERFLOW, message=text, model=model)
