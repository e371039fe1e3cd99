"""Witness: what the reaper of this process has seen of other workers, and what it proves."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from chatd.domain.outcomes import ReapReason
from chatd.store.reaps import MissingWorker, ReapTarget

SECONDS_BETWEEN_LOOKS = 0.8
"""Least time between the two looks that prove a death. A living worker that lost its connection is back
within it, and two looks of one interval of the reaper (1 s, less its jitter) are never closer."""


@dataclass(frozen=True, slots=True)
class _FreeLock:
    heartbeat_at: datetime | None
    since: float


class Witness:
    """Memory of which workers were seen with a free lock, since when, and with which last heartbeat.

    It is kept in the process and not in the database. Each process judges by its own looks alone, so that
    no look is trusted whose time another clock has measured.
    """

    def __init__(self) -> None:
        self._free_locks: dict[UUID, _FreeLock] = {}

    def judge(
        self, missing: Sequence[MissingWorker], *, at: float, sees_locks: bool
    ) -> list[ReapTarget]:
        """Add the look that found ``missing``. Return those that are dead.

        A worker is dead if its lock was free in two looks in a row and it sent no heartbeat between them,
        or if its lease is over. Without ``sees_locks`` the look counts only for leases.
        """
        self._free_locks = {
            worker.worker_id: self._first_look(worker, at)
            for worker in missing
            if worker.lock_free and sees_locks
        }
        return list(self._dead(missing, at))

    def _first_look(self, worker: MissingWorker, at: float) -> _FreeLock:
        before = self._free_locks.get(worker.worker_id)
        if before is not None and before.heartbeat_at == worker.heartbeat_at:
            return before
        return _FreeLock(worker.heartbeat_at, at)

    def _dead(self, missing: Sequence[MissingWorker], at: float) -> Iterator[ReapTarget]:
        for worker in missing:
            free = self._free_locks.get(worker.worker_id)
            if free is not None and at - free.since >= SECONDS_BETWEEN_LOOKS:
                reason = ReapReason.WORKER_DEAD
            elif worker.expired:
                reason = ReapReason.LEASE_EXPIRED
            else:
                continue
            yield ReapTarget(worker.worker_id, reason, heartbeat_at=worker.heartbeat_at)
