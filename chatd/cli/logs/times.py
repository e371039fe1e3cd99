"""Points in time and durations, as people write them in options."""

import re
from datetime import UTC, datetime, timedelta

from chatd.logs.serialize import format_timestamp

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?[smhdw])+", re.ASCII)


def parse_duration(text: str) -> timedelta | None:
    """Parse ``15m``, ``1h30m`` or ``90d``. Return None for other text. Raises ``OverflowError``."""
    if not _DURATION.fullmatch(text):
        return None
    pieces = re.findall(r"([\d.]+)([smhdw])", text)
    return timedelta(seconds=sum(float(number) * _UNITS[unit] for number, unit in pieces))


def parse_absolute_time(text: str) -> datetime:
    """Parse ``2026-01-02`` or ``2026-01-02T03:04``, in UTC without a zone. Raises ``ValueError``."""
    at = datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def parse_time(text: str, now: datetime) -> str:
    """Parse a duration before ``now``, or a time. ``03:04`` is today. Return it as log lines have it.

    Raises ``ValueError`` and ``OverflowError``.
    """
    ago = parse_duration(text)
    if ago is not None:
        return format_timestamp(now - ago)
    today = now.astimezone(UTC).date().isoformat()
    return format_timestamp(
        parse_absolute_time(f"{today}T{text}" if re.match(r"\d\d:\d\d", text) else text)
    )
