"""Owning chats: claim, renew, and take from those who are gone."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from chatd.domain.chat import Chat, Status
from chatd.domain.message import NewMessage, fold, interrupted_message
from chatd.domain.moves import Transition
from chatd.store import rows, sql
from chatd.store.pool import Connection, Database, translated
from chatd.store.rows import Moved
from chatd.store.turns import Fence
from chatd.telemetry import tracing

_Q = sql.load("leases")


@dataclass(frozen=True, slots=True)
class Claim:
    """A chat that was just claimed."""

    moved: Moved
    next_attempt_in: float
    """Seconds until the next attempt is due, when an earlier owner was waiting for one; else 0."""
    waited: float
    """Seconds since it was last moved, which is what made it pending, as a rule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """How a worker is listed, for the others and for those who ask why a chat waits."""

    host: str
    pid: int
    version: str
    max_chats: int
    """The most chats that it takes at once."""


@dataclass(frozen=True, slots=True)
class Doing:
    """A chat in hand, and what it is doing: for how long it has been in its zone, and still may be."""

    chat_id: UUID
    epoch: int
    zone: str | None = None
    seconds: float | None = None
    seconds_left: float | None = None


@dataclass(frozen=True, slots=True)
class Beat:
    """A chat that was renewed."""

    chat_id: UUID
    epoch: int
    version: int
    status: Status


@dataclass(frozen=True, slots=True)
class Abandoned:
    """An interrupting chat whose owner is gone, with what it had streamed."""

    fence: Fence
    step: int
    parts_done: int
    messages: tuple[NewMessage, ...]


@dataclass(frozen=True, slots=True)
class Waiting:
    """Which chats wait for a reaper."""

    running: bool
    """The owner is gone."""
    interrupting: bool
    """The owner is gone, and a stop was asked."""
    overdue: bool
    """The client took too long to run its tools."""


class Leases:
    """Statements about who owns what."""

    def __init__(self, database: Database, *, worker_id: UUID) -> None:
        self._database = database
        self.worker_id = worker_id

    async def leave(self) -> None:
        """Be listed no more."""
        await self._database.fetch(_Q["leave"], self.worker_id)

    async def hold_own_lock(self, connection: Connection) -> bool:
        """Take this worker's lock on ``connection``; False when somebody is just looking at it."""
        with translated():
            return bool(await connection.fetchval(_Q["hold_own_lock"], str(self.worker_id)))

    async def end_ghost(self, connection: Connection) -> None:
        """End an earlier session of this worker that the server has not missed yet."""
        with translated():
            await connection.fetch(_Q["end_ghost"], str(self.worker_id))

    async def renew(
        self, connection: Connection, listing: Listing, doing: Sequence[Doing] = ()
    ) -> list[Beat]:
        """Be listed, and renew the chats in hand; who is missing from the answer is lost.

        They go in the order of their ids, as a family is locked that is deleted.
        """
        doing = sorted(doing, key=lambda one: one.chat_id)
        with translated():
            answer = await connection.fetch(
                _Q["renew"],
                self.worker_id,
                [one.chat_id for one in doing],
                [one.epoch for one in doing],
                [one.zone for one in doing],
                [one.seconds for one in doing],
                [one.seconds_left for one in doing],
                listing.host,
                listing.pid,
                listing.version,
                listing.max_chats,
            )
        return [
            Beat(row["id"], row["epoch"], row["version"], Status(row["status"])) for row in answer
        ]

    async def acquire(self, most: int) -> list[Claim]:
        """Claim up to ``most`` pending chats, longest waiting first."""
        answer = await self._database.fetch(
            _Q["acquire"], self.worker_id, most, tracing.current_traceparent()
        )
        return [
            Claim(
                rows.moved(row, Transition.CLAIM, self.worker_id),
                max(row["next_attempt_in"] or 0.0, 0.0),
                max(row["waited"], 0.0),
            )
            for row in answer
        ]

    async def owned(self) -> list[Chat]:
        """What the database thinks that this worker owns."""
        return [rows.chat(row) for row in await self._database.fetch(_Q["owned"], self.worker_id)]

    async def look(self, *, stale_after_seconds: float, locks_tell: bool = True) -> Waiting:
        """Whether there are chats that wait for a reaper.

        Their workers are gone when their lease ran out, or, if ``locks_tell``, when their lock is free.
        """
        row = await self._database.fetchrow(
            _Q["look"], self.worker_id, stale_after_seconds, locks_tell
        )
        assert row is not None  # noqa: S101 - an aggregate returns one row
        return Waiting(row["running"], row["interrupting"], row["overdue"])

    async def reap(
        self,
        *,
        stale_after_seconds: float,
        max_recoveries: int,
        locks_tell: bool = True,
        most: int = 100,
    ) -> list[Moved]:
        """Make running chats pending whose owner is gone."""
        answer = await self._database.fetch(
            _Q["reap"], self.worker_id, stale_after_seconds, locks_tell, max_recoveries, most
        )
        return [rows.moved(row, Transition.REAP, self.worker_id) for row in answer]

    async def abandoned(
        self, *, stale_after_seconds: float, locks_tell: bool = True, most: int = 100
    ) -> list[Abandoned]:
        """Interrupting chats whose owner is gone; each is to be finished with ``reap_interrupt``."""
        return await self._interrupting(stale_after_seconds, locks_tell, most)

    async def left_interrupting(self, *, most: int = 100) -> list[Abandoned]:
        """Interrupting chats of this worker, when it is about to leave; to be finished likewise."""
        return await self._interrupting(None, False, most)

    async def _interrupting(self, *which: object) -> list[Abandoned]:
        answer = await self._database.fetch(_Q["interrupting"], self.worker_id, *which)
        return [
            Abandoned(
                fence=Fence(row["id"], row["worker_id"], row["epoch"]),
                step=row["step"],
                parts_done=row["last_part"],
                messages=interrupted_message(
                    fold(rows.parts_after(row["parts_done"], row["batches"] or ())),
                    model_config_id=row["last_model_config_id"],
                ),
            )
            for row in answer
        ]

    async def forget_workers(self, *, silent_seconds: float) -> None:
        """Drop the rows of workers that left without saying so."""
        await self._database.fetch(_Q["forget_workers"], silent_seconds)
