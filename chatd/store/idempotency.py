"""Idempotency keys: a request is executed once, and a repeat gets the stored response."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from chatd.domain.errors import ChatNotFound, IdempotencyKeyReused
from chatd.store import sql
from chatd.store.database import Database

_Q = sql.load("idempotency")


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A caller's name for one request (``Idempotency-Key``).

    ``request_hash`` covers the whole request. The same key with another hash is refused.
    """

    owner_id: str
    key: str
    request_hash: bytes


NO_KEY: Final[Mapping[str, None]] = {
    "idempotency_owner": None,
    "idempotency_key": None,
    "request_hash": None,
}


def key_arguments(key: IdempotencyKey | None) -> Mapping[str, str | bytes | None]:
    """Return the parameters that every statement has which stores its response."""
    if key is None:
        return NO_KEY
    return {
        "idempotency_owner": key.owner_id,
        "idempotency_key": key.key,
        "request_hash": key.request_hash,
    }


class IdempotencyStore:
    """Store for the responses of requests with a key."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def lookup(self, key: IdempotencyKey) -> Mapping[str, Any] | None:
        """Return the row of the response. None: the request was not made yet.

        Raises:
            IdempotencyKeyReused, ChatNotFound (the chat was deleted since, with its responses)
        """
        row = await self._database.fetchrow(_Q["lookup"], owner_id=key.owner_id, key=key.key)
        if row is None:
            return None
        if row["request_hash"] != key.request_hash:
            raise IdempotencyKeyReused(key=key.key)
        if row["response"] is None:
            raise ChatNotFound(row["chat_id"])
        response: Mapping[str, Any] = row["response"]
        return response

    async def prune(self, *, retention_hours: float, limit: int = 5000) -> int:
        """Delete up to ``limit`` keys past their retention. Return how many."""
        return len(
            await self._database.fetch(_Q["prune"], retention_hours=retention_hours, limit=limit)
        )
