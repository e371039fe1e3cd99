"""Reads about the whole fleet, and the request to a worker to drain."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from chatd.domain.chat import Status
from chatd.domain.errors import ChatNotFound, WorkerNotFound
from chatd.domain.fleet import (
    AGE_BOUNDS_SECONDS,
    FleetChat,
    FleetOverview,
    FleetWorker,
    OwnerLoad,
    StageLoad,
    StatusAges,
)
from chatd.store import sql
from chatd.store.database import Database
from chatd.store.records import Row

_Q = sql.load("fleet")

SAMPLE: Final = 2_000
"""Chats of each status that are looked at: some tens of milliseconds, however many there are."""
MAX_WORKERS: Final = 200
MAX_OWNERS: Final = 20
MAX_STAGES: Final = 20
"""Rows that a person reads. Those with most to say come first."""


class Fleet:
    """Store for operators: workers, and the active chats of all owners."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def overview(self, *, lease_seconds: float) -> FleetOverview:
        """Return the workers, and what the active chats do."""
        workers = await self._database.fetch(_Q["workers"], limit=MAX_WORKERS)
        statuses = await self._database.fetch(
            _Q["statuses"], sample=SAMPLE, age_bounds=[*map(float, AGE_BOUNDS_SECONDS)]
        )
        owners = await self._database.fetch(_Q["owners"], sample=SAMPLE, limit=MAX_OWNERS)
        stages = await self._database.fetch(_Q["stages"], sample=SAMPLE, limit=MAX_STAGES)
        return FleetOverview(
            at=workers[0]["now"] if workers else datetime.now(UTC),
            workers=[_worker(row, lease_seconds) for row in workers],
            statuses=_status_ages(statuses),
            owners=[
                OwnerLoad(
                    owner_id=row["owner_id"],
                    pending=row["pending"],
                    held=row["is_held"],
                    oldest_seconds=row["oldest_seconds"],
                )
                for row in owners
            ],
            stages=[StageLoad(**row) for row in stages],
        )

    async def active_chats(
        self, *, statuses: Sequence[Status], owner_id: str | None, limit: int
    ) -> Sequence[FleetChat]:
        """Return active chats in these statuses, those that are in it for longest first."""
        rows = await self._database.fetch(
            _Q["chats"],
            sample=SAMPLE,
            statuses=[status.value for status in statuses],
            owner_id=owner_id,
            limit=limit,
        )
        return [_chat(row) for row in rows]

    async def any_chat(self, chat_id: UUID) -> FleetChat:
        """Return one chat of any owner. Raise ``ChatNotFound``."""
        row = await self._database.fetchrow(_Q["chat"], chat_id=chat_id)
        if row is None:
            raise ChatNotFound(chat_id)
        return _chat(row)

    async def set_draining(self, worker_id: UUID, *, draining: bool) -> None:
        """Ask a worker to claim no more chats, or to claim again. Raise ``WorkerNotFound``."""
        row = await self._database.fetchrow(
            _Q["set_draining"], worker_id=worker_id, draining=draining
        )
        if row is None:
            raise WorkerNotFound(worker_id)


def _worker(row: Row, lease_seconds: float) -> FleetWorker:
    return FleetWorker(
        worker_id=row["worker_id"],
        host=row["host"],
        pid=row["pid"],
        version=row["version"],
        started_at=row["started_at"],
        heartbeat_at=row["heartbeat_at"],
        lease_age_seconds=row["lease_age_seconds"],
        lease_left_seconds=lease_seconds - row["lease_age_seconds"],
        lock_proved=row["lock_proved"],
        draining=row["draining"],
        slots=row["max_chats"],
        leased_chats=row["leased_chats"],
        models=row["models"] or (),
    )


def _status_ages(rows: Sequence[Row]) -> Sequence[StatusAges]:
    """Return one value of the rows of each status."""
    ages: dict[Status, list[int]] = {}
    oldest: dict[Status, float] = {}
    for row in rows:
        status = Status.read(row["status"])
        counts = ages.setdefault(status, [0] * (len(AGE_BOUNDS_SECONDS) + 1))
        counts[row["age"]] += row["chats"]
        oldest[status] = max(oldest.get(status, 0.0), row["oldest_seconds"])
    return [
        StatusAges(status=status, oldest_seconds=oldest[status], ages=counts)
        for status, counts in sorted(ages.items())
    ]


def _chat(row: Row) -> FleetChat:
    return FleetChat(
        id=row["id"],
        owner_id=row["owner_id"],
        parent_chat_id=row["parent_id"],
        status=Status.read(row["status"]),
        archived=row["archived"],
        since=row["since"],
        seconds=row["seconds"],
        model=row["model"],
        worker_id=row["worker_id"],
        epoch=row["epoch"],
        attempts=row["attempts"],
        recoveries=row["recoveries"],
        queue_length=row["queue_length"],
        held=row["is_held"],
        stage=row["stage"],
        stage_seconds=row["stage_seconds"],
        failure_kind=row["failure_kind"],
    )
