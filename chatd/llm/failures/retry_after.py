"""Retry-After: the wait that a provider asks for in the headers of its response."""

import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

MAX_RETRY_AFTER_SECONDS = 86_400.0
"""Longest wait that is returned."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_OPENAI_LIMITS = ("requests", "tokens")
_ANTHROPIC_LIMITS = ("requests", "tokens", "input-tokens", "output-tokens")


def retry_after(headers: Mapping[str, str], *, now: datetime) -> float | None:
    """Return the seconds to wait, between 0 and a day. None: the headers name no wait.

    ``Retry-After`` is seconds or a date (RFC 9110, section 10.2.3). OpenAI and Anthropic send
    ``retry-after-ms`` beside it. Without these, the latest reset of the exhausted rate limits counts.
    """
    values = {name.lower(): value.strip() for name, value in headers.items()}
    candidates = [
        _seconds(values.get("retry-after-ms"), unit=0.001),
        _seconds(values.get("retry-after")),
        _seconds_until(values.get("retry-after"), now=now),
        max(_resets(values, now=now), default=None),
    ]
    for seconds in candidates:
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
    """Return the seconds until an HTTP date. 0 if it has passed, None if it is no date."""
    try:
        date = parsedate_to_datetime(text or "")
    except ValueError:
        return None
    return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - now).total_seconds())


def _resets(headers: Mapping[str, str], *, now: datetime) -> Iterator[float]:
    """Yield the seconds until each exhausted limit resets, as OpenAI and Anthropic spell it."""
    for limit in _OPENAI_LIMITS:
        if headers.get(f"x-ratelimit-remaining-{limit}") == "0":
            reset = headers.get(f"x-ratelimit-reset-{limit}", "")
            if terms := _DURATION.findall(reset):
                yield sum(float(number) * _UNITS[unit] for number, unit in terms)
    for limit in _ANTHROPIC_LIMITS:
        if headers.get(f"anthropic-ratelimit-{limit}-remaining") == "0":
            reset = headers.get(f"anthropic-ratelimit-{limit}-reset", "")
            try:
                date = datetime.fromisoformat(reset)
            except ValueError:
                continue
            yield max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - now).total_seconds())
