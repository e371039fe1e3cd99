"""The shape of ``/statusz``: how one process is, for those who operate it. Nothing that was said."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from chatd.domain.chat import Status


class ActorOut(BaseModel):
    """An actor of the supervision tree."""

    model_config = ConfigDict(title="Actor")

    name: str
    state: str
    seconds: float
    restarts: int
    budget_left: int
    last_error: str | None
    note: str


class LeasedChatOut(BaseModel):
    """A chat in hand, and where its turn is."""

    model_config = ConfigDict(title="ChatInHand")

    chat_id: UUID
    status: Status
    epoch: int
    step: int
    leased_seconds: float
    stage: str | None
    stage_seconds: float
    deadline_seconds: float | None
    last_progress: str | None = Field(
        description="The last step that the turn noted, such as `streaming` or `backing off`."
    )
    seconds_since_progress: float
    lease_left_seconds: float


class PoolOut(BaseModel):
    """Connections to the database."""

    model_config = ConfigDict(title="Pool")

    size: int
    in_use: int
    waiting: int


class DatabaseStatsOut(BaseModel):
    """What the database had, of all processes, `seconds_ago`."""

    model_config = ConfigDict(title="Census")

    seconds_ago: float
    chats: dict[Status, int]
    oldest_pending_seconds: float | None
    workers: int


class Versions(BaseModel):
    """Of chatd and of what it runs on."""

    chatd: str
    python: str
    postgresql: str | None


class ProcessStatusOut(BaseModel):
    """How this process is. `census` is null until the database has answered."""

    model_config = ConfigDict(title="ProcessStatus")

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
