"""Leases: workers register and renew their leases."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from operator import attrgetter, itemgetter
from uuid import UUID

import asyncpg

from chatd.domain.chat import Chat, Status
from chatd.store import records, sql
from chatd.store.commits import NO_LISTENER, CommitListener
from chatd.store.connector import Connection
from chatd.store.containment import Containment
from chatd.store.database import Database
from chatd.store.database_errors import translate_errors
from chatd.telemetry.metrics import ContainmentMetrics

_Q = sql.load("leases")

_PROOFS = 3
"""Statements that must run in the same session, so that one lucky match is no proof."""


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
    lock_proved: bool = False
    """The worker holds its lock in a session of its own, so that a free lock proves its death."""


@dataclass(frozen=True, slots=True)
class ActivityReport:
    """Activity of a leased chat: the stage of its task, since when, and for how long it still may last."""

    chat_id: UUID
    epoch: int
    stage: str | None = None
    seconds_in_stage: float | None = None
    seconds_until_deadline: float | None = None
    seconds_since_progress: float = 0.0


@dataclass(frozen=True, slots=True)
class Renewal:
    """A chat that names this worker when it renews its lease."""

    chat_id: UUID
    epoch: int
    version: int
    status: Status


@dataclass(frozen=True, slots=True)
class RenewedLease:
    """The renewed lease of a worker: the chats that name it, and an operator's request to drain."""

    chats: list[Renewal]
    draining: bool


class Leases:
    """Store for the leases of one worker."""

    def __init__(
        self,
        database: Database,
        *,
        worker_id: UUID,
        listener: CommitListener = NO_LISTENER,
        containment_metrics: ContainmentMetrics | None = None,
    ) -> None:
        self._containment = Containment[UUID]("activity", containment_metrics)
        self._database = database
        self._listener = listener
        self.worker_id = worker_id

    async def deregister(self) -> None:
        """Delete the worker's row in ``workers``."""
        await self._database.fetch(_Q["deregister"], worker_id=self.worker_id)

    async def owns_session(self, connection: Connection) -> bool:
        """Return True if ``connection`` has a session of its own, so not one of a transaction pooler.

        A pooler sends its clients a process id that it made up, and may run each statement elsewhere.
        """
        text, args = _Q["backend_pid"].bind()
        pid = connection.get_server_pid()
        with translate_errors():
            return all([await connection.fetchval(text, *args) == pid for _ in range(_PROOFS)])

    async def try_worker_lock(self, connection: Connection) -> bool:
        """Take this worker's lock on ``connection``. Return False if another session is testing it."""
        text, args = _Q["try_worker_lock"].bind(worker_id=str(self.worker_id))
        with translate_errors():
            return bool(await connection.fetchval(text, *args))

    async def holds_worker_lock(self, connection: Connection) -> bool:
        """Return True if PostgreSQL shows this worker's lock as held by the session of ``connection``."""
        text, args = _Q["worker_lock_holder"].bind(worker_id=str(self.worker_id))
        with translate_errors():
            row = await connection.fetchrow(text, *args)
        assert row is not None  # noqa: S101 - it selects from nothing
        return bool(row["here"] == row["holder"] == connection.get_server_pid())

    async def terminate_stale_session(self, connection: Connection) -> None:
        """End an earlier session of this worker whose loss the server has not noticed yet."""
        text, args = _Q["terminate_stale_session"].bind(worker_id=str(self.worker_id))
        with translate_errors():
            await connection.fetch(text, *args)

    async def register(self, connection: Connection, registration: WorkerRegistration) -> None:
        """Write the worker's row, which renews its lease."""
        text, args = _Q["register"].bind(worker_id=self.worker_id, **asdict(registration))
        with translate_errors():
            await connection.fetch(text, *args)

    async def renew(self, connection: Connection) -> RenewedLease | None:
        """Renew the worker's lease. Return None if the worker is not registered."""
        text, args = _Q["renew"].bind(worker_id=self.worker_id)
        with translate_errors():
            rows = await connection.fetch(text, *args)
        if not rows:
            return None
        chats = [
            Renewal(row["id"], row["epoch"], row["version"], Status.read(row["status"]))
            for row in rows
            if row["id"] is not None
        ]
        return RenewedLease(chats, draining=rows[0]["draining"])

    async def report_activity(self, activities: Sequence[ActivityReport]) -> set[tuple[UUID, int]]:
        """Record the activity of leased chats. Return the id and epoch of those that were not locked."""
        written = await self._containment.run(
            [each for each in activities if not self._containment.is_cut(each.chat_id)],
            self._report_activity,
            key=attrgetter("chat_id"),
        )
        return {(row["id"], row["epoch"]) for row in chain.from_iterable(written)}

    async def _report_activity(
        self, activities: Sequence[ActivityReport]
    ) -> Sequence[asyncpg.Record]:
        return await self._database.fetch(
            _Q["report_activity"],
            worker_id=self.worker_id,
            chat_ids=[activity.chat_id for activity in activities],
            epochs=[activity.epoch for activity in activities],
            stages=[activity.stage for activity in activities],
            stage_seconds=[activity.seconds_in_stage for activity in activities],
            stage_seconds_left=[activity.seconds_until_deadline for activity in activities],
            progress_seconds=[activity.seconds_since_progress for activity in activities],
        )

    async def leased_chats(self) -> list[Chat]:
        """Return the chats that this worker holds, according to the database."""
        rows = await self._database.fetch(_Q["leased_chats"], worker_id=self.worker_id)
        return self._containment.read_each(rows, records.chat, key=itemgetter("id"))

    async def prune_workers(self, *, max_silence_seconds: float) -> None:
        """Delete the rows of workers that ended without deregistering."""
        await self._database.fetch(_Q["prune_workers"], silent_seconds=max_silence_seconds)
