"""Pending chats that no claim takes."""

from collections.abc import Collection
from uuid import UUID

from chatd.domain.transitions import Transition
from chatd.store import sql
from chatd.store.commits import NO_LISTENER, CommitListener
from chatd.store.database import Database
from chatd.store.records import TransitionResult

_Q = sql.load("pending")


class PendingChats:
    """Store for ending the wait of pending chats that no claim takes."""

    def __init__(
        self, database: Database, *, worker_id: UUID, listener: CommitListener = NO_LISTENER
    ) -> None:
        self._database = database
        self._listener = listener
        self._worker_id = worker_id

    async def unserved_models(self, *, lease_seconds: float, grace_seconds: float) -> set[UUID]:
        """Return the models of chats pending for ``grace_seconds`` that no living worker has."""
        rows = await self._database.fetch(
            _Q["unserved_models"], lease_seconds=lease_seconds, grace_seconds=grace_seconds
        )
        return {row["id"] for row in rows}

    async def fail_unserved(
        self,
        models: Collection[UUID],
        *,
        lease_seconds: float,
        grace_seconds: float,
        limit: int = 100,
    ) -> list[TransitionResult]:
        """Fail up to ``limit`` chats that were pending for ``grace_seconds`` for an unserved model."""
        rows = await self._database.fetch(
            _Q["fail_unserved"],
            worker_id=self._worker_id,
            models=list(models),
            lease_seconds=lease_seconds,
            grace_seconds=grace_seconds,
            limit=limit,
        )
        return [
            self._listener.committed(row, Transition.FAIL_UNSERVED, self._worker_id) for row in rows
        ]
