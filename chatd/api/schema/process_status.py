"""Responses for operators: health, and the status of one process. No message content."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from chatd.domain.chat import Status

_DATABASE_STATS: dict[str, Any] = {
    "seconds_ago": 2.0,
    "chats": {
        "waiting": 41,
        "pending": 0,
        "running": 1,
        "interrupting": 0,
        "requires_action": 0,
        "parked": 0,
        "error": 2,
    },
    "oldest_pending_seconds": 0.0,
    "workers": 2,
}


class Health(BaseModel):
    """The health of this process."""

    status: Literal["alive", "ready"] = Field(examples=["ready"])


class Actor(BaseModel):
    """An actor of the supervision tree."""

    name: str = Field(examples=["heartbeat"])
    state: str = Field(examples=["running"])
    seconds: float = Field(examples=[3.1])
    restarts: int = Field(examples=[0])
    budget_left: int = Field(examples=[5])
    last_error: str | None
    note: str


class LeasedChat(BaseModel):
    """A chat leased by this process, and the progress of its turn."""

    chat_id: UUID
    status: Status = Field(examples=["running"])
    epoch: int
    committed_steps: int = Field(examples=[0])
    leased_seconds: float = Field(examples=[1.4])
    stage: str | None = Field(examples=["model stream"])
    stage_seconds: float = Field(examples=[1.3])
    deadline_seconds: float | None = Field(examples=[59.8])
    last_progress: str | None = Field(
        description="The last step that the turn noted, such as `streaming` or `backing off`.",
        examples=["streaming"],
    )
    seconds_since_progress: float = Field(examples=[0.2])
    lease_left_seconds: float = Field(examples=[13.6])


class Pool(BaseModel):
    """The database connections of this process."""

    size: int = Field(examples=[10])
    in_use: int = Field(examples=[1])
    waiting: int = Field(examples=[0])


class DatabaseStats(BaseModel):
    """Counts over the whole database, collected `seconds_ago`."""

    model_config = ConfigDict(json_schema_extra={"examples": [_DATABASE_STATS]})

    seconds_ago: float
    chats: dict[Status, int]
    oldest_pending_seconds: float | None
    workers: int


class Versions(BaseModel):
    """Versions of chatd and of its environment."""

    chatd: str = Field(examples=["0.1.0"])
    python: str = Field(examples=["3.13.1"])
    postgresql: str | None = Field(examples=["18.1"])


class ProcessStatus(BaseModel):
    """Status of this process. `database_stats` is null until the database has answered."""

    worker_id: UUID = Field(examples=["b0f1a3c2-7f0e-4f7b-9a51-9f0d3b8f4c77"])
    host: str = Field(examples=["web-1"])
    pid: int = Field(examples=[4711])
    phase: str = Field(
        examples=["serving"], json_schema_extra={"enum": ["starting", "serving", "stopping"]}
    )
    started_at: datetime
    uptime_seconds: float = Field(examples=[3.2])
    versions: Versions
    actors: list[Actor]
    chats: list[LeasedChat]
    free_slots: int = Field(examples=[99])
    streams: int
    pool: Pool
    loop_lag_seconds: float = Field(examples=[0.001])
    database_stats: DatabaseStats | None = Field(examples=[_DATABASE_STATS])
