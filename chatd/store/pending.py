"""Pending chats that no claim takes."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from operator import itemgetter
from uuid import UUID

import asyncpg

from chatd.domain.errors import ChatdError
from chatd.domain.tool_call_errors import TURN_FAILED
from chatd.domain.transitions import Transition
from chatd.store import sql
from chatd.store.commits import NO_LISTENER, CommitListener
from chatd.store.containment import Containment
from chatd.store.database import Database
from chatd.store.limits import ChatLimits
from chatd.store.records import TransitionResult
from chatd.telemetry.metrics import ContainmentMetrics

_Q = sql.load("pending")

_REFUSED = (
    "PostgreSQL refuses to admit the held chat; a warning in the log of the server has the reason."
)


@dataclass(frozen=True, slots=True)
class Admitted:
    """Held chats of some owners that may be claimed now."""

    count: int
    last_owner: str | None
    """Owner after whom the next call goes on. None: there is no further owner with held chats."""


class PendingChats:
    """Store for ending the wait of pending chats that no claim takes."""

    def __init__(
        self,
        database: Database,
        *,
        worker_id: UUID,
        limits: Callable[[], ChatLimits] = ChatLimits,
        listener: CommitListener = NO_LISTENER,
        containment_metrics: ContainmentMetrics | None = None,
    ) -> None:
        self._containment = Containment[UUID]("pending sweep", containment_metrics)
        self._database = database
        self._limits = limits
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
        limit: int = 50,
    ) -> list[TransitionResult]:
        """Fail up to ``limit`` chats that were pending for ``grace_seconds`` for an unserved model."""

        async def fail(only: Sequence[UUID] | None) -> Sequence[asyncpg.Record]:
            return await self._database.fetch(
                _Q["fail_unserved"],
                worker_id=self._worker_id,
                models=list(models),
                lease_seconds=lease_seconds,
                grace_seconds=grace_seconds,
                limit=limit,
                excluded=self._containment.cut_keys,
                only=only,
                words=TURN_FAILED,
            )

        async def pending() -> Sequence[UUID]:
            rows = await self._database.fetch(
                _Q["pending_for"],
                models=list(models),
                limit=limit,
                excluded=self._containment.cut_keys,
            )
            return [row["id"] for row in rows]

        rows = await self._containment.run_or_split(fail, pending, key=lambda one: one)
        return self._containment.read_each(rows, self._to_failed, key=itemgetter("id"))

    def _to_failed(self, row: asyncpg.Record) -> TransitionResult:
        return self._listener.committed(row, Transition.FAIL_UNSERVED, self._worker_id)

    async def admit_held(self, *, after_owner: str = "", max_owners: int = 50) -> Admitted:
        """Admit one held chat of each of the next ``max_owners`` owners of whom fewer run than may.

        A chat whose row refuses that is passed by and cut.
        """
        rows = await self._database.fetch(
            _Q["admit_held"],
            after_owner=after_owner,
            max_owners=max_owners,
            limits=self._limits().of_owner,
        )
        admitted = [row for row in rows if row["version"] is not None]
        for row in admitted:
            self._listener.on_admit(row["id"], row["version"], row["owner_id"])
        for row in rows:
            if row["id"] is not None and row["version"] is None:
                self._cut_refused(row["id"])
        owners = {row["owner_id"] for row in rows}
        return Admitted(len(admitted), rows[-1]["owner_id"] if len(owners) == max_owners else None)

    def _cut_refused(self, chat_id: UUID) -> None:
        if not self._containment.is_cut(chat_id):
            self._containment.cut(chat_id, ChatdError(_REFUSED))
