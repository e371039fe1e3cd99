"""Moments as PostgreSQL writes them in JSON."""

from datetime import UTC, datetime


def parse_moment(text: str) -> datetime:
    """Return a moment in UTC. PostgreSQL writes it in its own time zone, and fractions without zeros."""
    return datetime.fromisoformat(text).astimezone(UTC)
