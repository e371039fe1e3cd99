"""The write-ahead log of the server, as a measure of what a change costs."""

from chatd.store.connector import Connection


async def wal_position(connection: Connection) -> int:
    """Return the bytes of WAL that the server has written so far."""
    return int(await connection.fetchval("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"))
