"""Tries of one need: each asks for a summary in another way, the next one of more for less. Pure."""

from collections.abc import Sequence
from dataclasses import replace

from chatd.domain.message import Message
from chatd.domain.request_size import BYTES_PER_TOKEN, message_tokens
from chatd.llm.context_window import ContextWindow
from chatd.worker.compaction.boundary import split
from chatd.worker.compaction.need import MAX_TRIES, CompactionNeed, summary_tokens
from chatd.worker.compaction.pruning import pruned_view
from chatd.worker.compaction.summary import SummaryRequest
from chatd.worker.compaction.transcript import FULL, PRUNED

_PROMPT_TOKENS = 600
"""Tokens of what surrounds a transcript, about."""
_REQUEST_SHARE = 10
"""The fraction of the usable window that a user's message may have that stands in a summary."""


def history_tokens(messages: Sequence[Message], pruned_through: int | None) -> int:
    """Return the estimated tokens of a history as a model is shown it."""
    return sum(message_tokens(each) for each in pruned_view(tuple(messages), pruned_through))


def summary_request(
    number: int,
    messages: Sequence[Message],
    need: CompactionNeed,
    *,
    pruned_through: int | None,
    writer_window: ContextWindow | None,
    instructions: str,
    was_too_long: bool = False,
) -> SummaryRequest | None:
    """Return what the try of this number asks for. None: it could not help.

    1. The newest messages stay.
    2. As little as may be stays, and the results of tools are left out of the transcript.
    3. Results that no model has read are covered, too, and the oldest messages are left out of the
       transcript, so that it takes three quarters of the window, or one if an earlier try ``was_too_long``.
    """
    last = number == MAX_TRIES
    tail_tokens = need.tail_tokens if number == 1 else 0
    parts = split(messages, tail_tokens=tail_tokens, keeps_unread=not last)
    if parts is None:
        return None
    before = history_tokens(messages, pruned_through)
    left = history_tokens((*parts.system, *parts.tail), pruned_through)
    if not need.is_met(before, left, shortest=number > 1):
        return None
    limits = FULL if number == 1 else PRUNED
    output = summary_tokens(writer_window or need.window)
    space = None if writer_window is None else max(writer_window.limit - output - _PROMPT_TOKENS, 1)
    if last:
        quarters = 1 if was_too_long else 3
        limits = replace(FULL, tokens=(space or need.window.usable) * quarters // 4)
    request = SummaryRequest(parts, limits, instructions, output)
    if space is not None and sum(map(message_tokens, request.messages())) > space and not last:
        return None
    return request


def request_length(window: ContextWindow) -> int:
    """Return the most characters of a user's message that stands in a summary."""
    return max(window.usable * BYTES_PER_TOKEN // _REQUEST_SHARE, 100)
