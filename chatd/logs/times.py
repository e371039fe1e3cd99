"""Moments: as a line has them, and as people give them, which is also how long a token may be good."""

import re
from datetime import UTC, datetime, timedelta

STAMP_LENGTH = 24
"""Characters of a time as chatd writes it, which sorts as text: 2026-01-02T03:04:05.678Z."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?[smhdw])+", re.ASCII)


def stamp(moment: datetime) -> str:
    """A time as it stands in a line."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def duration(given: str) -> timedelta | None:
    """``15m``, ``1h30m``, ``90d``; None for what is none. Raises ``OverflowError``."""
    if not _DURATION.fullmatch(given):
        return None
    pieces = re.findall(r"([\d.]+)([smhdw])", given)
    return timedelta(seconds=sum(float(number) * _UNITS[unit] for number, unit in pieces))


def time(given: str) -> datetime:
    """``2026-01-02``, ``2026-01-02T03:04``: UTC, if it names no zone. Raises ``ValueError``."""
    at = datetime.fromisoformat(given)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def moment(given: str, now: datetime) -> str:
    """A point in time as it would stand in a line: so long ago, or a time; ``03:04`` is today's.

    Raises ``ValueError``, ``OverflowError``.
    """
    ago = duration(given)
    if ago is not None:
        return stamp(now - ago)
    today = now.astimezone(UTC).date().isoformat()
    return stamp(time(f"{today}T{given}" if re.match(r"\d\d:\d\d", given) else given))
