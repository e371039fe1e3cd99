"""The fleet as operators see it: workers, and chats of all owners without anything that they say."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from chatd.domain.chat import Status

ACTIVE: Final = (
    Status.PENDING,
    Status.RUNNING,
    Status.INTERRUPTING,
    Status.REQUIRES_ACTION,
    Status.PARKED,
    Status.ERROR,
)
"""Statuses of the chats that an operator may look for: every one but ``waiting``."""

AGE_BOUNDS_SECONDS: Final = (10, 60, 600, 3600)
"""Upper bounds of the ages by which chats of a status are counted. The last count has no bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetWorker:
    """A worker with its lease, which is alive while ``lease_left_seconds`` is positive."""

    worker_id: UUID
    host: str
    pid: int
    version: str
    started_at: datetime
    heartbeat_at: datetime
    lease_age_seconds: float
    lease_left_seconds: float
    lock_proved: bool
    draining: bool
    slots: int
    leased_chats: int
    models: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusAges:
    """The chats of one status by age, of at most as many as the sample has."""

    status: Status
    oldest_seconds: float
    ages: Sequence[int]
    """Chats up to each of ``AGE_BOUNDS_SECONDS``, and older ones: each chat in one of them."""

    @property
    def count(self) -> int:
        """The number of chats in the sample."""
        return sum(self.ages)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerLoad:
    """Pending chats of one owner."""

    owner_id: str
    pending: int
    held: int
    oldest_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StageLoad:
    """Leased chats whose workers reported the same stage."""

    stage: str
    chats: int
    slowest_seconds: float
    slowest_chat_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetOverview:
    """Workers, and samples of the active chats, as of one moment."""

    at: datetime
    workers: Sequence[FleetWorker]
    statuses: Sequence[StatusAges]
    owners: Sequence[OwnerLoad]
    stages: Sequence[StageLoad]


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetChat:
    """A chat of any owner: how it is run, and nothing of its messages."""

    id: UUID
    owner_id: str
    parent_chat_id: UUID | None
    status: Status
    archived: bool
    since: datetime
    """Since when it is pending, leased or failed, or when it began to wait."""
    seconds: float
    model: str
    worker_id: UUID | None
    epoch: int
    attempts: int
    recoveries: int
    queue_length: int
    held: bool
    stage: str | None
    stage_seconds: float | None
    failure_kind: str | None
