"""Responses about the fleet, for operators. No message content, titles or labels."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, Field

from chatd.domain.chat import Status
from chatd.domain.fleet import AGE_BOUNDS_SECONDS

_BOUNDS = ", ".join(map(str, AGE_BOUNDS_SECONDS))


class FleetWorker(BaseModel):
    """A worker and its lease. Others may take its chats when `lease_left_seconds` is not positive."""

    worker_id: UUID = Field(examples=["b0f1a3c2-7f0e-4f7b-9a51-9f0d3b8f4c77"])
    host: str = Field(examples=["web-1"])
    pid: int = Field(examples=[4711])
    version: str = Field(examples=["0.1.0"])
    started_at: datetime
    heartbeat_at: datetime
    lease_age_seconds: float = Field(description="Time since its heartbeat.", examples=[1.2])
    lease_left_seconds: float = Field(examples=[13.8])
    lock_proved: bool = Field(
        description="True if its lock is evidence, so that its death is noticed within seconds.",
        examples=[True],
    )
    draining: bool = Field(description="True if it was asked to claim no more chats.")
    slots: int = Field(description="Number of chats that it leases at most.", examples=[100])
    leased_chats: int = Field(examples=[3])
    models: list[str] = Field(description="Names of the models that it can call.")


class StatusAges(BaseModel):
    """The active chats of one status by age."""

    status: Status = Field(examples=["running"])
    count: int = Field(examples=[3])
    complete: bool = Field(
        description="False if there are more chats than were looked at.", examples=[True]
    )
    oldest_seconds: float = Field(examples=[12.5])
    ages: list[int] = Field(
        description=f"Chats younger than {_BOUNDS} seconds, and older ones: each in one of the numbers.",
        examples=[[2, 1, 0, 0, 0]],
    )


class OwnerLoad(BaseModel):
    """Pending chats of one owner."""

    owner_id: str = Field(examples=["local"])
    pending: int = Field(examples=[4])
    held: int = Field(description="Those beyond `limits.max_running_per_owner`.", examples=[0])
    oldest_seconds: float = Field(examples=[2.5])


class StageLoad(BaseModel):
    """Leased chats in one stage, as their workers last reported."""

    stage: str = Field(examples=["model stream"])
    chats: int = Field(examples=[3])
    slowest_seconds: float = Field(examples=[8.1])
    slowest_chat_id: UUID


class PendingStates(BaseModel):
    """Pending chats by what they wait for: a worker, their next attempt, or chats of their owner."""

    due: int
    deferred: int = Field(description="Those that wait for their next attempt after a failure.")
    held: int


class Fleet(BaseModel):
    """Workers and active chats of the whole database.

    `waiting` chats are none of them. Counts by age, owner and stage are of at most 2,000 chats of each
    status. `pending` is null until the database has answered the process that is asked.
    """

    at: datetime
    worker_id: UUID = Field(description="The worker of the process that answers.")
    workers: list[FleetWorker]
    statuses: list[StatusAges]
    pending: PendingStates | None
    owners: list[OwnerLoad] = Field(description="Those with most pending chats.")
    stages: list[StageLoad] = Field(description="The slowest first.")


class FleetChat(BaseModel):
    """A chat of any owner: how it is run, and nothing of its messages."""

    id: UUID
    owner_id: str = Field(examples=["local"])
    parent_chat_id: UUID | None
    status: Status = Field(examples=["running"])
    archived: bool
    since: datetime
    seconds: float = Field(description="Time that it has been in this status.", examples=[12.5])
    model: str = Field(examples=["fast"])
    worker_id: UUID | None
    epoch: int = Field(examples=[1])
    attempts: int = Field(examples=[0])
    recoveries: int = Field(examples=[0])
    queue_length: int = Field(examples=[0])
    held: bool
    stage: str | None = Field(examples=["model stream"])
    stage_seconds: float | None = Field(examples=[8.1])
    failure_kind: str | None = Field(description="Kind of the failure in the status `error`.")


class FleetChats(BaseModel):
    """Active chats, those that have been in their status for longest first."""

    items: list[FleetChat]


class HistorySeries(BaseModel):
    """One number for each of the times. Null where there was nothing to measure."""

    name: str = Field(examples=["turns_finished"])
    description: str = Field(examples=["Turns that ended well"])
    unit: str = Field(examples=["turns"])
    values: list[float | None] = Field(examples=[[3.0, 5.0]])


class ModelCalls(BaseModel):
    """Calls of one model by this process."""

    model: str = Field(examples=["fast"])
    provider: str | None = Field(examples=["anthropic"])
    calls: int = Field(examples=[120])
    errors: int = Field(examples=[3])
    error_rate: float = Field(description="Failed calls as a part of all.", examples=[0.025])
    errors_by_kind: dict[str, int] = Field(examples=[{"overloaded": 3}])
    first_part_seconds: float | None = Field(
        description="Time to the first part that 95 of 100 answers kept to.", examples=[0.8]
    )


class MetricsHistory(BaseModel):
    """Metrics of this process in the last hour, at most. Each sample is of some seconds."""

    worker_id: UUID
    host: str = Field(examples=["web-1"])
    interval_seconds: float = Field(examples=[10.0])
    times: list[datetime]
    series: list[HistorySeries]
    models: list[ModelCalls]
