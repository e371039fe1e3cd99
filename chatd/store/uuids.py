"""UUIDs of the kind that asyncpg reads, which are made and written in a tenth of the time of Python's."""

from uuid import UUID

from asyncpg.pgproto.pgproto import UUID as _UUID


def parse_uuid(text: str) -> UUID:
    """Return the UUID of a canonical text. Raises ``ValueError``."""
    return _UUID(text)
