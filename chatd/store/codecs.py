"""Codecs of column types, none of which raises for what a row holds.

asyncpg decodes all rows of a statement together, so a value that raised would fail those of all chats. What
Python cannot represent becomes a value that is no longer usable, and fails where one row is read.

A turn decodes some 20 values here, 1 us each. The benchmark ``turns`` watches it.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pydantic_core import from_json, to_json

from chatd.store.connector import Connection

_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""The moment that PostgreSQL counts microseconds from."""
_MICROSECOND: Final = timedelta(microseconds=1)
_LATEST, _EARLIEST = datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC)


class UnreadableJson:
    """A JSON value that is nested too deeply, or holds a number too long, for Python."""


UNREADABLE_JSON: Final = UnreadableJson()


async def register_codecs(connection: Connection) -> None:
    """Have a connection use the codecs of this module."""
    await connection.set_type_codec(
        "jsonb", encoder=encode_json, decoder=_decode_json, schema="pg_catalog", format="text"
    )
    await connection.set_type_codec(
        "timestamptz",
        encoder=_encode_timestamp,
        decoder=_decode_timestamp,
        schema="pg_catalog",
        format="tuple",
    )


def encode_json(value: Any) -> str:
    """Return a value as PostgreSQL reads jsonb."""
    return to_json(value).decode()


def _decode_json(text: str) -> Any:
    try:
        return from_json(text)
    except ValueError:
        return UNREADABLE_JSON


def _encode_timestamp(value: datetime) -> tuple[int]:
    return ((value - _EPOCH) // _MICROSECOND,)


def _decode_timestamp(value: tuple[int]) -> datetime:
    """Return a timestamp, or the last or first one of Python for one beyond it, and for infinity."""
    try:
        return _EPOCH + timedelta(0, 0, value[0])
    except OverflowError:
        return _LATEST if value[0] > 0 else _EARLIEST
