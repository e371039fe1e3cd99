"""Requests that may be said again: each is done once, and answered as often as it is asked."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chatd.domain.errors import ChatNotFound, IdempotencyKeyReused
from chatd.store import sql
from chatd.store.database import Database

_Q = sql.load("keys")


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A caller's name for one request (``Idempotency-IdempotencyKey``).

    ``request_hash`` is of everything that was asked: the same key with another one is a mistake.
    """

    owner_id: str
    key: str
    request_hash: bytes


def key_arguments(key: IdempotencyKey | None) -> tuple[str | None, str | None, bytes | None]:
    """The three last parameters of every statement that keeps its answer."""
    return (None, None, None) if key is None else (key.owner_id, key.key, key.request_hash)


class IdempotencyStore:
    """Answers that were kept."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def lookup(self, key: IdempotencyKey) -> Mapping[str, Any] | None:
        """The row that the request was answered with; None when it was not made yet.

        Raises:
            KeyReused, ChatNotFound (it was deleted since, and its answers with it)
        """
        row = await self._database.fetchrow(_Q["kept"], key.owner_id, key.key)
        if row is None:
            return None
        if row["fingerprint"] != key.request_hash:
            raise IdempotencyKeyReused(key=key.key)
        if row["answer"] is None:
            raise ChatNotFound(row["chat_id"])
        answer: Mapping[str, Any] = row["answer"]
        return answer

    async def prune(self, *, retention_hours: float, limit: int = 5000) -> int:
        """Drop what is older than that; the number says whether there may be more."""
        return len(await self._database.fetch(_Q["forget_keys"], retention_hours, limit))
