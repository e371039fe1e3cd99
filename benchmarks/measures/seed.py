"""Rows that are inserted directly, without turns."""

from typing import Final
from uuid import UUID, uuid4

from chatd.store.database import Database

_MODEL: Final = (
    "INSERT INTO chat_model_configs (id, name, provider, model) VALUES ($1, 'm', 'p', 'm')"
)
_PENDING: Final = """
INSERT INTO chats (id, root_chat_id, owner_id, last_model_config_id, status, pending_since,
                   round)
SELECT id, id, 'bench', $1, 'pending', clock_timestamp(), chat_next_round('bench')
FROM (SELECT gen_random_uuid() AS id FROM generate_series(1, $2)) new
"""
_LEASED: Final = """
INSERT INTO chats (id, root_chat_id, owner_id, last_model_config_id, status, worker_id, epoch,
                   started_at, heartbeat_at)
SELECT id, id, 'bench', $1, CASE WHEN leased THEN 'running' ELSE 'waiting' END,
       CASE WHEN leased THEN $3::uuid END, 1,
       CASE WHEN leased THEN clock_timestamp() END, CASE WHEN leased THEN clock_timestamp() END
FROM (SELECT gen_random_uuid() AS id, n % 10 = 0 AS leased FROM generate_series(1, 10 * $2) n) new
"""


async def insert_model(database: Database) -> UUID:
    """Insert a model that chats may refer to."""
    model_id = uuid4()
    await database.fetch(_MODEL, model_id)
    return model_id


async def insert_pending(database: Database, model_id: UUID, rows: int) -> None:
    """Replace all chats by this many pending ones."""
    await database.fetch("TRUNCATE chats CASCADE")
    await database.fetch(_PENDING, model_id, rows)
    await database.fetch("ANALYZE chats")


async def insert_leased(
    database: Database, model_id: UUID, rows: int, worker_id: UUID
) -> list[UUID]:
    """Insert leased chats of one worker, each among nine idle ones, as in a table in use."""
    await database.fetch(_LEASED, model_id, rows, worker_id)
    await database.fetch("ANALYZE chats")
    found = await database.fetch("SELECT id FROM chats WHERE worker_id = $1", worker_id)
    return [row["id"] for row in found]
