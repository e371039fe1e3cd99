"""Idempotency keys: a request is executed once, and a repeat is answered from the same rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from chatd.domain.errors import ChatNotFound, IdempotencyKeyReused
from chatd.store import sql
from chatd.store.database import Database
from chatd.store.records import Row

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
    """Return the parameters that every statement has which stores a key."""
    if key is None:
        return NO_KEY
    return {
        "idempotency_owner": key.owner_id,
        "idempotency_key": key.key,
        "request_hash": key.request_hash,
    }


class IdempotencyStore:
    """Store for the requests that were made with a key."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def lookup(self, key: IdempotencyKey) -> Row | None:
        """Return what the response was made of, as it is now. None: the request was not made yet.

        Raises:
            IdempotencyKeyReused, ChatNotFound (the chat was deleted since)
        """
        row = await self._database.fetchrow(_Q["lookup"], owner_id=key.owner_id, key=key.key)
        if row is None:
            return None
        if row["request_hash"] != key.request_hash:
            raise IdempotencyKeyReused(key=key.key)
        if row["id"] is None:
            raise ChatNotFound(row["key_chat_id"])
        return row
