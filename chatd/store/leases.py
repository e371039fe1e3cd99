"""Leases: workers renew chats, and reap the chats of dead workers."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from chatd.domain.chat import Chat, Status
from chatd.domain.message import fold, interrupted_message
from chatd.domain.transitions import Transition
from chatd.store import records, sql
from chatd.store.commands import ReapInterrupt
from chatd.store.commits import NO_LISTENER, CommitListener
from chatd.store.connector import Connection
from chatd.store.database import Database
from chatd.store.database_errors import translate_errors
from chatd.store.records import TransitionResult
from chatd.store.turns import FencingToken

_Q = sql.load("leases")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRegistration:
    """Values of a worker's row in ``workers``, for other workers and for operators."""

    host: str
    pid: int
    version: str
    max_chats: int
    """Upper bound on the chats that it leases at the same time."""
    models: tuple[UUID, ...]
    """Ids of the models that it can call."""


@dataclass(frozen=True, slots=True)
class ActivityReport:
    """Activity of a leased chat: the stage of its task, since when, and for how long it still may last."""

    chat_id: UUID
    epoch: int
    stage: str | None = None
    seconds_in_stage: float | None = None
    seconds_until_deadline: float | None = None


@dataclass(frozen=True, slots=True)
class Renewal:
    """A chat whose lease was renewed."""

    chat_id: UUID
    epoch: int
    version: int
    status: Status


@dataclass(frozen=True, slots=True)
class OrphanedInterrupt:
    """An interrupting chat of a dead worker, and the command that finishes it with what was flushed."""

    fence: FencingToken
    command: ReapInterrupt


@dataclass(frozen=True, slots=True)
class ReapableWork:
    """Kinds of work that wait for a reaper."""

    orphaned_running: bool
    """There are running chats of dead workers."""
    orphaned_interrupting: bool
    """There are interrupting chats of dead workers."""
    action_overdue: bool
    """There are chats whose client took too long to run its tools."""


class Leases:
    """Store for the leases of one worker."""

    def __init__(
        self, database: Database, *, worker_id: UUID, listener: CommitListener = NO_LISTENER
    ) -> None:
        self._database = database
        self._listener = listener
        self.worker_id = worker_id

    async def deregister(self) -> None:
        """Delete the worker's row in ``workers``."""
        await self._database.fetch(_Q["deregister"], worker_id=self.worker_id)

    async def try_worker_lock(self, connection: Connection) -> bool:
        """Take this worker's lock on ``connection``. Return False if another session is testing it."""
        text, args = _Q["try_worker_lock"].bind(worker_id=str(self.worker_id))
        with translate_errors():
            return bool(await connection.fetchval(text, *args))

    async def terminate_stale_session(self, connection: Connection) -> None:
        """End an earlier session of this worker whose loss the server has not noticed yet."""
        text, args = _Q["terminate_stale_session"].bind(worker_id=str(self.worker_id))
        with translate_errors():
            await connection.fetch(text, *args)

    async def renew(
        self,
        connection: Connection,
        registration: WorkerRegistration,
        activities: Sequence[ActivityReport] = (),
    ) -> list[Renewal]:
        """Write the worker's row and renew its leases. A chat that is not returned is lost.

        The chats are locked in the order of their ids, as when a tree of chats is deleted.
        """
        activities = sorted(activities, key=lambda activity: activity.chat_id)
        text, args = _Q["renew"].bind(
            worker_id=self.worker_id,
            chat_ids=[activity.chat_id for activity in activities],
            epochs=[activity.epoch for activity in activities],
            stages=[activity.stage for activity in activities],
            stage_seconds=[activity.seconds_in_stage for activity in activities],
            stage_seconds_left=[activity.seconds_until_deadline for activity in activities],
            host=registration.host,
            pid=registration.pid,
            version=registration.version,
            max_chats=registration.max_chats,
            models=registration.models,
        )
        with translate_errors():
            rows = await connection.fetch(text, *args)
        return [
            Renewal(row["id"], row["epoch"], row["version"], Status.read(row["status"]))
            for row in rows
        ]

    async def leased_chats(self) -> list[Chat]:
        """Return the chats that this worker holds, according to the database."""
        rows = await self._database.fetch(_Q["leased_chats"], worker_id=self.worker_id)
        return [records.chat(row) for row in rows]

    async def find_reapable(
        self, *, lease_seconds: float, trust_free_locks: bool = True
    ) -> ReapableWork:
        """Return which kinds of work wait for a reaper.

        A worker counts as dead if its lease has expired, or if ``trust_free_locks`` and its lock is free.
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
        """Give running chats of dead workers back to ``pending``, or to ``error`` after too many deaths."""
        rows = await self._database.fetch(
            _Q["reap"],
            worker_id=self.worker_id,
            lease_seconds=lease_seconds,
            trust_free_locks=trust_free_locks,
            max_recoveries=max_recoveries,
            limit=limit,
        )
        return [self._listener.committed(row, Transition.REAP, self.worker_id) for row in rows]

    async def orphaned_interrupts(
        self, *, lease_seconds: float, trust_free_locks: bool = True, limit: int = 100
    ) -> list[OrphanedInterrupt]:
        """Return interrupting chats of dead workers, each with the command that finishes it."""
        return await self._interrupted_chats(
            lease_seconds=lease_seconds, trust_free_locks=trust_free_locks, limit=limit
        )

    async def own_interrupts(self, *, limit: int = 100) -> list[OrphanedInterrupt]:
        """Return interrupting chats of this worker, which is about to stop, each with its command."""
        return await self._interrupted_chats(
            lease_seconds=None, trust_free_locks=False, limit=limit
        )

    async def _interrupted_chats(self, **values: object) -> list[OrphanedInterrupt]:
        rows = await self._database.fetch(
            _Q["orphaned_interrupts"], worker_id=self.worker_id, **values
        )
        return [
            OrphanedInterrupt(
                fence=FencingToken(row["id"], row["worker_id"], row["epoch"]),
                command=ReapInterrupt(
                    step=row["committed_steps"],
                    settled_part=row["last_part"],
                    messages=interrupted_message(
                        fold(records.parts_after(row["settled_part"], row["batches"] or ())),
                        model_config_id=row["last_model_config_id"],
                    ),
                ),
            )
            for row in rows
        ]

    async def prune_workers(self, *, max_silence_seconds: float) -> None:
        """Delete the rows of workers that ended without deregistering."""
        await self._database.fetch(_Q["prune_workers"], silent_seconds=max_silence_seconds)
