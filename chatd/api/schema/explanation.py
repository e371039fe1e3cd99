"""Response of the explain route: the reasons for a chat's state."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, Field

from chatd.api.schema.parts import DocumentedAs
from chatd.api.schema.resources import FailureDetail
from chatd.api.schema.tool_call_record import ToolCallRecord
from chatd.domain.chat import Status
from chatd.domain.reason import ReasonCode


class WorkerInfo(BaseModel):
    """The worker that holds the chat's lease. Only its id is known once it is deregistered."""

    worker_id: UUID
    host: str | None
    pid: int | None
    version: str | None
    started_at: datetime | None
    last_heartbeat_at: datetime | None
    last_heartbeat_seconds_ago: float | None


class Activity(BaseModel):
    """The activity that the worker last reported. Without progress it is cancelled at `deadline_at`."""

    stage: str | None = Field(examples=["model stream"])
    started_at: datetime | None
    deadline_at: datetime | None
    reported_seconds_ago: float | None


class Retry(BaseModel):
    """A failed step that will be tried again."""

    attempts: int = Field(description="Number of attempts so far.")
    next_attempt_at: datetime | None
    next_attempt_in_seconds: float | None


class WorkerCapacity(BaseModel):
    """The workers of all replicas."""

    alive: int = Field(examples=[2])
    with_model: int = Field(description="Number of them that have the chat's model.", examples=[2])
    with_free_slots: int = Field(
        description="Number of those with the model that have free slots.", examples=[2]
    )
    free_slots: int = Field(
        description="Number of further chats of the model that they would claim.", examples=[199]
    )
    last_heartbeat_at: datetime | None = Field(examples=["2026-03-01T09:30:02.480000Z"])


class Reason(BaseModel):
    """A reason: a stable code for programs, a sentence for people."""

    code: ReasonCode = Field(examples=["idle"])
    text: str = Field(examples=["idle for 12 s: there is nothing to do until a message comes"])


class AwaitedChat(BaseModel):
    """A chat that another one waits for."""

    chat_id: UUID
    status: Status | None = Field(description="Null: the chat was deleted.")


class Explanation(BaseModel):
    """The reasons for a chat's state. All times are the database's."""

    chat_id: UUID
    at: datetime
    status: Status = Field(examples=["waiting"])
    version: int = Field(examples=[3])
    epoch: int
    reasons: list[Reason]
    worker: WorkerInfo | None = Field(description="For operators only.")
    lease_left_seconds: float | None
    activity: Activity | None
    retry: Retry | None
    last_failure: Annotated[dict[str, Any], DocumentedAs(FailureDetail)] | None
    recoveries: int = Field(examples=[0])
    queue_length: int = Field(examples=[0])
    pending_since: datetime | None
    chats_ahead: int | None = Field(
        description="Pending chats that will be claimed before this one. At most 1,000 are counted. "
        "For operators only."
    )
    action_deadline: datetime | None
    trace_id: str | None = Field(
        description="Id of the trace of the turn, or of the last that was traced. Null without tracing.",
        examples=["0af7651916cd43dd8448eb211c80319c"],
    )
    server_tools: dict[str, list[str]] | None = Field(
        description="The MCP servers (`mcp`) and tools (`http`, `builtin`) that were chosen. Null: "
        "none were.",
        examples=[{"mcp": ["time"]}],
    )
    missing_server_tools: dict[str, list[str]] = Field(
        description="Those of them that this server's configuration no longer has.", examples=[{}]
    )
    open_calls: list[ToolCallRecord] = Field(
        description="Tool calls without a result: at most 50.", examples=[[]]
    )
    awaited_chats: list[AwaitedChat] = Field(
        description="The chats that a parked chat waits for: at most 50.", examples=[[]]
    )
    workers: WorkerCapacity | None = Field(description="For operators only.")
