"""Serialization of values: types that JSON has, bounded in size, without secrets."""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from math import isfinite
from typing import Any
from uuid import UUID

from chatd.domain.sanitize import REDACTED
from chatd.logs.redaction import is_secret_name, redact_secrets

MAX_DEPTH = 6
"""Maximum nesting, which also ends a value that contains itself."""
MAX_ITEMS = 100
"""Maximum entries of one container."""
TIMESTAMP_LENGTH = 24
"""Length of a timestamp, which sorts as text: 2026-01-02T03:04:05.678Z."""
_PLAIN_TYPES = frozenset({bool, int, float})
_LARGEST_PLAIN = 2**53
"""Bound below which a number is JSON as it is. No infinity is, and no comparison of NaN is true."""
_PLACEHOLDER = "<{} that cannot be shown>"


def format_timestamp(at: datetime) -> str:
    """Return a time as log lines have it."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def timestamp() -> str:
    """Return the time now as log lines have it. The seconds are formatted once for all lines in them."""
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    return f"{_format_seconds(seconds)}.{nanoseconds // 1_000_000:03}Z"


@lru_cache(2)
def _format_seconds(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def serialize_fields(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the fields as ``serialize`` does, without a call for each that is JSON as it is."""
    return {
        key: value
        if value is None
        or (type(value) in _PLAIN_TYPES and -_LARGEST_PLAIN < value < _LARGEST_PLAIN)
        else serialize(value, key)
        for key, value in fields.items()
    }


def serialize(value: Any, key: str = "") -> Any:
    """Return the value of the field ``key`` as JSON types. Never raises."""
    if value is None or (type(value) in _PLAIN_TYPES and -_LARGEST_PLAIN < value < _LARGEST_PLAIN):
        return value
    if isinstance(value, UUID):
        return str(value)  # an id of chatd, never a secret
    try:
        return _serialize(value, key)
    except Exception:  # noqa: BLE001  (a foreign mapping may raise anything)
        return _PLACEHOLDER.format(type(value).__qualname__)


def call_or_placeholder(function: Callable[[Any], Any], value: Any) -> Any:
    """Return ``function(value)``, or a placeholder with its type if that raises."""
    try:
        return function(value)
    except Exception:  # noqa: BLE001  (a foreign __str__ may raise anything)
        return _PLACEHOLDER.format(type(value).__qualname__)


def _serialize(value: Any, key: str = "", depth: int = 0) -> Any:  # noqa: C901 - one dispatch
    if key and isinstance(value, str | bytes) and is_secret_name(key):
        return REDACTED
    match value:
        case None | bool():
            return value
        case str():
            return redact_secrets(value)
        case int():
            return int(value) if abs(value) < 2**63 else f"<integer of {value.bit_length()} bits>"
        case float():
            return value if isfinite(value) else str(value)
        case Mapping() | list() | tuple() | set() | frozenset() if depth == MAX_DEPTH:
            return "…"
        case Mapping():
            items = list(value.items())[:MAX_ITEMS]
            return {
                redact_secrets(call_or_placeholder(str, k)): _serialize(
                    v, call_or_placeholder(str, k), depth + 1
                )
                for k, v in items
            }
        case list() | tuple() | set() | frozenset():
            return [_serialize(inner, "", depth + 1) for inner in list(value)[:MAX_ITEMS]]
        case datetime():
            return value.isoformat()
        case UUID():
            return str(value)  # an id of chatd, never a secret
        case _:
            return redact_secrets(call_or_placeholder(str, value))
