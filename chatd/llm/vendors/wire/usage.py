"""Usage of one answer, from the counts that a provider sends with it."""

import math
from collections.abc import Mapping
from typing import Any

from chatd.domain.chat import Usage

MAX_TOKENS = 2**31 - 1
"""Largest count that is kept: that of the column."""

_MAX_DIGITS = 20
"""Longest count in text that is read."""


class UsageTotals:
    """Running totals: every count that a provider sends again replaces a smaller one.

    Servers send usage once, on several chunks, or on each chunk, always as the total so far. A count that
    is no number is left out, a fraction is rounded, and a number that no column holds is capped.
    """

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def add_chat_completion(self, usage: object) -> None:
        """Add the ``usage`` of a chat completion."""
        if not isinstance(usage, Mapping):
            return
        prompt, completion = _details(usage, "prompt"), _details(usage, "completion")
        self._add("input", usage, "prompt_tokens", "input_tokens")
        self._add("output", usage, "completion_tokens", "output_tokens")
        self._add("cache_read", usage, "prompt_cache_hit_tokens", "cached_tokens")
        self._add("cache_read", prompt, "cached_tokens")
        self._add("cache_write", prompt, "cache_write_tokens", "cache_creation_tokens")
        self._add("reasoning", usage, "reasoning_tokens")
        self._add("reasoning", completion, "reasoning_tokens")

    def add_response(self, usage: object) -> None:
        """Add the ``usage`` of the Responses API."""
        if not isinstance(usage, Mapping):
            return
        self._add("input", usage, "input_tokens")
        self._add("output", usage, "output_tokens")
        self._add("cache_read", _details(usage, "input"), "cached_tokens")
        self._add("cache_write", _details(usage, "input"), "cache_write_tokens")
        self._add("reasoning", _details(usage, "output"), "reasoning_tokens")

    def add_anthropic(self, usage: object) -> None:
        """Add the ``usage`` of Anthropic's API, which counts cached tokens apart from the other input."""
        if not isinstance(usage, Mapping):
            return
        self._add("fresh", usage, "input_tokens")
        self._add("output", usage, "output_tokens")
        self._add("cache_read", usage, "cache_read_input_tokens")
        self._add("cache_write", usage, "cache_creation_input_tokens")
        self._add("reasoning", _details(usage, "output"), "thinking_tokens")
        counts = (self._counts.get(name, 0) for name in ("fresh", "cache_read", "cache_write"))
        self._counts["input"] = min(sum(counts), MAX_TOKENS)

    def total(self) -> Usage:
        """Return the usage so far. What was not sent is 0."""
        return Usage(
            input_tokens=self._counts.get("input", 0),
            output_tokens=self._counts.get("output", 0),
            cache_read_tokens=self._counts.get("cache_read", 0),
            cache_write_tokens=self._counts.get("cache_write", 0),
            reasoning_tokens=self._counts.get("reasoning", 0),
        )

    def _add(self, name: str, usage: Mapping[str, Any], *keys: str) -> None:
        for key in keys:
            if (count := _count(usage.get(key))) is not None:
                self._counts[name] = max(self._counts.get(name, 0), count)


def _details(usage: Mapping[str, Any], direction: str) -> Mapping[str, Any]:
    details = usage.get(f"{direction}_tokens_details")
    return details if isinstance(details, Mapping) else {}


def _count(value: object) -> int | None:
    if isinstance(value, str) and len(value) <= _MAX_DIGITS:
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, float):
        if math.isnan(value):
            return None
        value = round(min(max(value, 0.0), float(MAX_TOKENS)))
    return min(max(value, 0), MAX_TOKENS)
