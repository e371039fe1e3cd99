"""Sweeps of whole tables, without turns."""

from chatd.store.database import Database
from chatd.store.sweeps import Sweeps

DAY = 86_400.0
ALL_PAGES = 2**31


async def delete_expired(
    database: Database, table: str, *, retention_seconds: float | None = None, limit: int = 5000
) -> int:
    """Delete the expired rows of a table, wherever they are. Return how many."""
    return await Sweeps(database).delete_expired(
        table, first_page=0, end_page=ALL_PAGES, retention_seconds=retention_seconds, limit=limit
    )
