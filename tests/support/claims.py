"""Claims as a worker makes them that has every model."""

from typing import Any
from uuid import UUID

from chatd.store.claims import Claim, ClaimBatch, Claims
from chatd.store.commits import NO_LISTENER, CommitListener
from chatd.store.database import Database
from support.factories import WORKER

SUSPECT_RECOVERIES = 2


async def claim_chats(database: Database, limit: int, **values: Any) -> list[Claim]:
    """Claim up to ``limit`` chats of any model."""
    return list((await claim_batch(database, limit, **values)).claims)


async def claim_batch(
    database: Database,
    limit: int,
    *,
    worker_id: UUID = WORKER,
    listener: CommitListener = NO_LISTENER,
    **values: Any,
) -> ClaimBatch:
    """Claim up to ``limit`` chats of any model, and return all that the claim has seen."""
    models = [row["id"] for row in await database.fetch("SELECT id FROM chat_model_configs")]
    request: dict[str, Any] = {
        "models": tuple(models),
        "suspect_recoveries": SUSPECT_RECOVERIES,
        **values,
    }
    return await Claims(database, worker_id=worker_id, listener=listener).claim(limit, **request)


async def make_due(database: Database) -> None:
    """Let the next attempt of every deferred chat be due since a second."""
    await database.fetch(
        "UPDATE chats SET updated_at = clock_timestamp() - interval '2 seconds',"
        " pending_since = clock_timestamp() - interval '1 second',"
        " next_attempt_at = clock_timestamp() - interval '1 second'"
        " WHERE status = 'pending' AND next_attempt_at IS NOT NULL"
    )
