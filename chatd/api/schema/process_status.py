"""Response of ``/statusz``: the status of one process, for operators. No message content."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, Field

from chatd.domain.chat import Status


class ActorOut(BaseModel):
    """An actor of the supervision tree. `seconds` is the time in its state."""

    name: str
    state: str
    seconds: float
    restarts: int
    budget_left: int
    last_error: str | None
    note: str


class LeasedChatOut(BaseModel):
    """A chat leased by this process, and the progress of its turn."""

    chat_id: UUID
    status: Status
    epoch: int
    committed_steps: int
    leased_seconds: float
    stage: str | None
    stage_seconds: float
    deadline_seconds: float | None
    last_progress: str | None = Field(
        description="The last progress mark of the turn, such as `streaming` or `backing off`."
    )
    seconds_since_progress: float
    lease_left_seconds: float


class PoolOut(BaseModel):
    """Connection pool of the database."""

    size: int
    in_use: int
    waiting: int


class DatabaseStatsOut(BaseModel):
    """Counts over the whole database, collected `seconds_ago`."""

    seconds_ago: float
    chats: dict[Status, int]
    oldest_pending_seconds: float | None
    workers: int


class Versions(BaseModel):
    """Versions of chatd and of its environment."""

    chatd: str
    python: str
    postgresql: str | None


class ProcessStatusOut(BaseModel):
    """Status of this process. `database_stats` is null until the database has answered."""

    worker_id: UUID
    host: str
    pid: int
    phase: str
    started_at: datetime
    uptime_seconds: float
    versions: Versions
    actors: list[ActorOut]
    chats: list[LeasedChatOut]
    free_slots: int
    streams: int
    pool: PoolOut
    loop_lag_seconds: float
    database_stats: DatabaseStatsOut | None
