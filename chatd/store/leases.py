"""Owning chats: claim, renew, and take from those who are gone."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from chatd.domain.chat import Chat, Status
from chatd.domain.message import NewMessage, fold, interrupted_message
from chatd.domain.transitions import Transition
from chatd.store import records, sql
from chatd.store.database import Connection, Database, translate_errors
from chatd.store.records import TransitionResult
from chatd.store.turns import FencingToken
from chatd.telemetry import tracing

_Q = sql.load("leases")


@dataclass(frozen=True, slots=True)
class Claim:
    """A chat that was just claimed."""

    result: TransitionResult
    next_attempt_in_seconds: float
    """Seconds until the next attempt is due, when an earlier owner was waiting for one; else 0."""
    pending_seconds: float
    """Seconds since it was last moved, which is what made it pending, as a rule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRegistration:
    """How a worker is listed, for the others and for those who ask why a chat waits."""

    host: str
    pid: int
    version: str
    max_chats: int
    """The most chats that it takes at once."""


@dataclass(frozen=True, slots=True)
class ActivityReport:
    """A chat in hand, and what it is doing: for how long it has been in its zone, and still may be."""

    chat_id: UUID
    epoch: int
    stage: str | None = None
    seconds_in_stage: float | None = None
    seconds_until_deadline: float | None = None


@dataclass(frozen=True, slots=True)
class Renewal:
    """A chat that was renewed."""

    chat_id: UUID
    epoch: int
    version: int
    status: Status


@dataclass(frozen=True, slots=True)
class OrphanedInterrupt:
    """An interrupting chat whose owner is gone, with what it had streamed."""

    fence: FencingToken
    step: int
    settled_part: int
    messages: tuple[NewMessage, ...]


@dataclass(frozen=True, slots=True)
class ReapableWork:
    """Which chats wait for a reaper."""

    orphaned_running: bool
    """The owner is gone."""
    orphaned_interrupting: bool
    """The owner is gone, and a stop was asked."""
    action_overdue: bool
    """The client took too long to run its tools."""


class Leases:
    """Statements about who owns what."""

    def __init__(self, database: Database, *, worker_id: UUID) -> None:
        self._database = database
        self.worker_id = worker_id

    async def deregister(self) -> None:
        """Be listed no more."""
        await self._database.fetch(_Q["deregister"], worker_id=self.worker_id)

    async def try_worker_lock(self, connection: Connection) -> bool:
        """Take this worker's lock on ``connection``; False when somebody is just looking at it."""
        text, args = _Q["try_worker_lock"].bind(worker_id=str(self.worker_id))
        with translate_errors():
            return bool(await connection.fetchval(text, *args))

    async def terminate_stale_session(self, connection: Connection) -> None:
        """End an earlier session of this worker that the server has not missed yet."""
        text, args = _Q["terminate_stale_session"].bind(worker_id=str(self.worker_id))
        with translate_errors():
            await connection.fetch(text, *args)

    async def renew(
        self,
        connection: Connection,
        registration: WorkerRegistration,
        activities: Sequence[ActivityReport] = (),
    ) -> list[Renewal]:
        """Be listed, and renew the chats in hand; who is missing from the answer is lost.

        They go in the order of their ids, as a family is locked that is deleted.
        """
        activities = sorted(activities, key=lambda one: one.chat_id)
        text, args = _Q["renew"].bind(
            worker_id=self.worker_id,
            chat_ids=[one.chat_id for one in activities],
            epochs=[one.epoch for one in activities],
            stages=[one.stage for one in activities],
            stage_seconds=[one.seconds_in_stage for one in activities],
            stage_seconds_left=[one.seconds_until_deadline for one in activities],
            host=registration.host,
            pid=registration.pid,
            version=registration.version,
            max_chats=registration.max_chats,
        )
        with translate_errors():
            answer = await connection.fetch(text, *args)
        return [
            Renewal(row["id"], row["epoch"], row["version"], Status(row["status"]))
            for row in answer
        ]

    async def claim(self, limit: int) -> list[Claim]:
        """Claim up to ``limit`` pending chats, longest waiting first."""
        answer = await self._database.fetch(
            _Q["claim"],
            worker_id=self.worker_id,
            limit=limit,
            claim_traceparent=tracing.current_traceparent(),
        )
        return [
            Claim(
                records.transition_result(row, Transition.CLAIM, self.worker_id),
                max(row["next_attempt_in"] or 0.0, 0.0),
                max(row["pending_seconds"], 0.0),
            )
            for row in answer
        ]

    async def leased_chats(self) -> list[Chat]:
        """What the database thinks that this worker owns."""
        answer = await self._database.fetch(_Q["leased_chats"], worker_id=self.worker_id)
        return [records.chat(row) for row in answer]

    async def find_reapable(
        self, *, lease_seconds: float, trust_free_locks: bool = True
    ) -> ReapableWork:
        """Whether there are chats that wait for a reaper.

        Their workers are gone when their lease ran out, or, if ``trust_free_locks``, when their lock is free.
        """
        row = await self._database.fetchrow(
            _Q["find_reapable"],
            worker_id=self.worker_id,
            lease_seconds=lease_seconds,
            trust_free_locks=trust_free_locks,
        )
        assert row is not None  # noqa: S101 - an aggregate returns one row
        return ReapableWork(row["running"], row["interrupting"], row["overdue"])

    async def reap(
        self,
        *,
        lease_seconds: float,
        max_recoveries: int,
        trust_free_locks: bool = True,
        limit: int = 100,
    ) -> list[TransitionResult]:
        """Make running chats pending whose owner is gone."""
        answer = await self._database.fetch(
            _Q["reap"],
            worker_id=self.worker_id,
            lease_seconds=lease_seconds,
            trust_free_locks=trust_free_locks,
            max_recoveries=max_recoveries,
            limit=limit,
        )
        return [records.transition_result(row, Transition.REAP, self.worker_id) for row in answer]

    async def orphaned_interrupts(
        self, *, lease_seconds: float, trust_free_locks: bool = True, limit: int = 100
    ) -> list[OrphanedInterrupt]:
        """Interrupting chats whose owner is gone; each is to be finished with ``reap_interrupt``."""
        return await self._interrupted_chats(
            lease_seconds=lease_seconds, trust_free_locks=trust_free_locks, limit=limit
        )

    async def own_interrupts(self, *, limit: int = 100) -> list[OrphanedInterrupt]:
        """Interrupting chats of this worker, when it is about to leave; to be finished likewise."""
        return await self._interrupted_chats(
            lease_seconds=None, trust_free_locks=False, limit=limit
        )

    async def _interrupted_chats(self, **values: object) -> list[OrphanedInterrupt]:
        answer = await self._database.fetch(
            _Q["orphaned_interrupts"], worker_id=self.worker_id, **values
        )
        return [
            OrphanedInterrupt(
                fence=FencingToken(row["id"], row["worker_id"], row["epoch"]),
                step=row["committed_steps"],
                settled_part=row["last_part"],
                messages=interrupted_message(
                    fold(records.parts_after(row["settled_part"], row["batches"] or ())),
                    model_config_id=row["last_model_config_id"],
                ),
            )
            for row in answer
        ]

    async def prune_workers(self, *, max_silence_seconds: float) -> None:
        """Drop the rows of workers that left without saying so."""
        await self._database.fetch(_Q["prune_workers"], silent_seconds=max_silence_seconds)
