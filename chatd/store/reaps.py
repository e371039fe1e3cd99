"""Reaps: finding workers that may be dead, and reclaiming the chats of those that are."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from operator import itemgetter
from uuid import UUID

import asyncpg

from chatd.domain.message import fold, interrupted_message
from chatd.domain.outcomes import ReapReason
from chatd.domain.tool_call_errors import TURN_FAILED, interrupted_results
from chatd.domain.transitions import Transition
from chatd.store import records, sql
from chatd.store.commands import ReapInterrupt
from chatd.store.commits import NO_LISTENER, CommitListener
from chatd.store.containment import Containment
from chatd.store.database import Database
from chatd.store.records import TransitionResult
from chatd.store.turns import FencingToken
from chatd.telemetry.metrics import ContainmentMetrics

_Q = sql.load("reaps")


@dataclass(frozen=True, slots=True)
class MissingWorker:
    """A worker that holds leases and may be dead, as one look found it."""

    worker_id: UUID
    heartbeat_at: datetime | None
    """Its last heartbeat. None: it is not registered, so it has no lease."""
    expired: bool
    """Its lease is over."""
    lock_free: bool
    """Nobody holds its lock, which it proved to hold in a session of its own."""


@dataclass(frozen=True, slots=True)
class Look:
    """Work for a reaper, as one look found it."""

    missing: tuple[MissingWorker, ...]
    action_overdue: bool
    """There are chats whose client took too long to run its tools."""
    parked: bool
    """There are chats that wait for others."""


@dataclass(frozen=True, slots=True)
class ReapTarget:
    """A worker that is taken for dead, or one chat that its own worker gives up.

    A worker that has renewed its lease since ``heartbeat_at`` is not dead.
    """

    worker_id: UUID
    reason: ReapReason
    heartbeat_at: datetime | None = None
    chat_id: UUID | None = None
    epoch: int | None = None


@dataclass(frozen=True, slots=True)
class OrphanedInterrupt:
    """An interrupting chat of a dead worker, and the command that finishes it with what was flushed."""

    fence: FencingToken
    command: ReapInterrupt


class Reaps:
    """Store for the reaper of one worker."""

    def __init__(
        self,
        database: Database,
        *,
        worker_id: UUID,
        listener: CommitListener = NO_LISTENER,
        containment_metrics: ContainmentMetrics | None = None,
    ) -> None:
        self.containment = Containment[UUID]("reaper", containment_metrics)
        """The chats that could not be reclaimed."""
        self._database = database
        self._listener = listener
        self.worker_id = worker_id

    async def look(self, *, lease_seconds: float) -> Look:
        """Look once at the workers that hold leases.

        The lock of the reaper's own worker proves nothing: its process may be about to take it again.
        """
        rows = await self._database.fetch(
            _Q["look"], worker_id=self.worker_id, lease_seconds=lease_seconds
        )
        missing = tuple(
            MissingWorker(row["worker_id"], row["heartbeat_at"], row["expired"], row["lock_free"])
            for row in rows
            if row["worker_id"] is not None
        )
        return Look(missing, action_overdue=rows[0]["action_overdue"], parked=rows[0]["parked"])

    async def reap(
        self, targets: Sequence[ReapTarget], *, max_recoveries: int, limit: int = 50
    ) -> list[TransitionResult]:
        """Give running chats of dead workers back to ``pending``, or to ``error`` after too many deaths."""

        async def reap(chats: Sequence[ReapTarget] | None) -> Sequence[asyncpg.Record]:
            chosen = targets if chats is None else chats
            return await self._database.fetch(
                _Q["reap"],
                worker_id=self.worker_id,
                **_columns(chosen),
                reasons=[each.reason.value for each in chosen],
                max_recoveries=max_recoveries,
                words=TURN_FAILED,
                limit=limit,
                excluded=self.containment.cut_keys,
            )

        rows = await self._run_or_split(reap, targets, limit)
        return self.containment.read_each(rows, self._to_result, key=itemgetter("id"))

    def _to_result(self, row: asyncpg.Record) -> TransitionResult:
        return self._listener.committed(row, Transition.REAP, self.worker_id)

    async def _run_or_split(
        self,
        statement: Callable[[Sequence[ReapTarget] | None], Awaitable[Sequence[asyncpg.Record]]],
        targets: Sequence[ReapTarget],
        limit: int,
    ) -> Sequence[asyncpg.Record]:
        async def chats() -> Sequence[ReapTarget]:
            of_worker = {target.worker_id: target for target in targets}
            rows = await self._database.fetch(
                _Q["chats_of_workers"],
                worker_ids=list(of_worker),
                excluded=self.containment.cut_keys,
                limit=limit,
            )
            return [
                replace(of_worker[row["worker_id"]], chat_id=row["id"], epoch=row["epoch"])
                for row in rows
            ]

        return await self.containment.run_or_split(statement, chats, key=_chat_of)

    async def orphaned_interrupts(
        self, targets: Sequence[ReapTarget], *, limit: int = 50
    ) -> list[OrphanedInterrupt]:
        """Return interrupting chats of dead workers, each with the command that finishes it."""

        async def read(chats: Sequence[ReapTarget] | None) -> Sequence[asyncpg.Record]:
            return await self._database.fetch(
                _Q["orphaned_interrupts"],
                **_columns(targets if chats is None else chats),
                limit=limit,
                excluded=self.containment.cut_keys,
            )

        rows = await self._run_or_split(read, targets, limit)
        return self.containment.read_each(rows, _orphaned_interrupt, key=itemgetter("id"))


def _orphaned_interrupt(row: asyncpg.Record) -> OrphanedInterrupt:
    content = fold(records.parts_after(row["settled_part"], row["batches"] or ()))
    return OrphanedInterrupt(
        fence=FencingToken(row["id"], row["worker_id"], row["epoch"]),
        command=ReapInterrupt(
            step=row["committed_steps"],
            settled_part=row["last_part"],
            messages=interrupted_message(content, model_config_id=row["last_model_config_id"]),
            results=interrupted_results(content),
        ),
    )


def _chat_of(target: ReapTarget) -> UUID:
    assert target.chat_id is not None  # noqa: S101 - a target of one chat
    return target.chat_id


def _columns(targets: Sequence[ReapTarget]) -> dict[str, list[object]]:
    return {
        "worker_ids": [each.worker_id for each in targets],
        "heartbeats": [each.heartbeat_at for each in targets],
        "chat_ids": [each.chat_id for each in targets],
        "epochs": [each.epoch for each in targets],
    }
