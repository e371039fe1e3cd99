"""How long a provider asks us to wait, from the headers of its answer."""

import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

MAX_RETRY_AFTER_SECONDS = 86_400.0
"""Seconds; a provider that asks for more is taken to mean a day."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_OPENAI_LIMITS = ("requests", "tokens")
_ANTHROPIC_LIMITS = ("requests", "tokens", "input-tokens", "output-tokens")


def retry_after(headers: Mapping[str, str], *, now: datetime) -> float | None:
    """Seconds to wait, or None when the provider does not say. Never negative, never above a day.

    ``Retry-After`` is seconds or a date (RFC 9110, section 10.2.3); ``retry-after-ms`` is what both
    vendors send beside it. Failing these, the reset of each rate limit that is used up.
    """
    found = {name.lower(): value.strip() for name, value in headers.items()}
    asked = [
        _seconds(found.get("retry-after-ms"), unit=0.001),
        _seconds(found.get("retry-after")),
        _seconds_until(found.get("retry-after"), now=now),
        max(_resets(found, now=now), default=None),
    ]
    for seconds in asked:
        if seconds is not None and seconds >= 0:
            return min(seconds, MAX_RETRY_AFTER_SECONDS)
    return None


def _seconds(text: str | None, *, unit: float = 1.0) -> float | None:
    try:
        seconds = float(text or "") * unit
    except ValueError:
        return None
    return None if math.isnan(seconds) else seconds


def _seconds_until(text: str | None, *, now: datetime) -> float | None:
    """Seconds until an HTTP date; 0 when it has passed."""
    try:
        date = parsedate_to_datetime(text or "")
    except ValueError:
        return None
    return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - now).total_seconds())


def _resets(headers: Mapping[str, str], *, now: datetime) -> Iterator[float]:
    """Seconds until each used-up limit is renewed, as OpenAI and Anthropic spell it."""
    for limit in _OPENAI_LIMITS:
        if headers.get(f"x-ratelimit-remaining-{limit}") == "0":
            reset = headers.get(f"x-ratelimit-reset-{limit}", "")
            if pieces := _DURATION.findall(reset):
                yield sum(float(number) * _UNITS[unit] for number, unit in pieces)
    for limit in _ANTHROPIC_LIMITS:
        if headers.get(f"anthropic-ratelimit-{limit}-remaining") == "0":
            reset = headers.get(f"anthropic-ratelimit-{limit}-reset", "")
            try:
                date = datetime.fromisoformat(reset)
            except ValueError:
                continue
            yield max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - now).total_seconds())
