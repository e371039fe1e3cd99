"""The route that says why a chat is where it is."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from chatd.api.auth import Caller
from chatd.api.desk import AtDesk
from chatd.api.parts import ShownAs
from chatd.api.problems import documented
from chatd.api.schemas import FailureDetail
from chatd.domain.chat import Status
from chatd.domain.explain import Activity, ChatDiagnostics, ReasonCode, reasons

router = APIRouter(prefix="/api/v1", tags=["chats"])


class OwnerOut(BaseModel):
    """The worker that has the chat. All but its id is null when it is no longer listed."""

    model_config = ConfigDict(title="Owner")

    worker_id: UUID
    host: str | None
    pid: int | None
    version: str | None
    started_at: datetime | None
    last_beat_at: datetime | None
    last_beat_seconds_ago: float | None


class DoingOut(BaseModel):
    """What the worker said at the chat's last beat; `until` is when it is cut without progress."""

    model_config = ConfigDict(title="Doing")

    zone: str | None = Field(examples=["model stream"])
    since: datetime | None
    until: datetime | None
    said_seconds_ago: float | None


class RetryOut(BaseModel):
    """A step that failed, and is tried again."""

    model_config = ConfigDict(title="Retry")

    attempts: int = Field(description="How often it was tried.")
    next_attempt_at: datetime | None
    next_attempt_in_seconds: float | None


class WorkersOut(BaseModel):
    """The processes that work on chats, of all replicas."""

    model_config = ConfigDict(title="Workers")

    alive: int
    with_room: int
    room: int = Field(description="How many more chats they would take.")
    last_beat_at: datetime | None


class BecauseOut(BaseModel):
    """A reason: a stable code for programs, a sentence for people."""

    model_config = ConfigDict(title="Because")

    code: ReasonCode
    text: str


class Explanation(BaseModel):
    """Why a chat is where it is. All times are the database's."""

    chat_id: UUID
    at: datetime
    status: Status
    version: int
    epoch: int
    because: list[BecauseOut]
    owner: OwnerOut | None
    lease_left_seconds: float | None
    doing: DoingOut | None
    retry: RetryOut | None
    last_failure: Annotated[dict[str, Any], ShownAs(FailureDetail)] | None
    recoveries: int
    queue_length: int
    pending_since: datetime | None
    ahead: int | None = Field(
        description="Chats before it in the line; at most 10,000 are counted."
    )
    action_deadline: datetime | None
    workers: WorkersOut


@router.get("/chats/{chat_id}/explain", responses=documented("chat_not_found"))
async def explain_chat(chat_id: UUID, caller: Caller, desk: AtDesk) -> Explanation:
    """Say why a chat is where it is: who works on it, what it is doing, what it waits for."""
    facts = await desk.reads.explain(
        chat_id, owner_id=caller.sees, lease_seconds=desk.stale_after_seconds
    )
    return Explanation(
        chat_id=facts.chat_id,
        at=facts.now,
        status=facts.status,
        version=facts.version,
        epoch=facts.epoch,
        because=[BecauseOut(code=one.code, text=one.text) for one in reasons(facts)],
        owner=_owner(facts),
        lease_left_seconds=facts.lease_left_seconds,
        doing=_doing(facts, facts.activity),
        retry=_retry(facts),
        last_failure=dict(facts.last_failure) if facts.last_failure else None,
        recoveries=facts.recoveries,
        queue_length=facts.queue_length,
        pending_since=facts.pending_since,
        ahead=facts.chats_ahead if facts.status is Status.PENDING else None,
        action_deadline=facts.action_deadline,
        workers=WorkersOut(
            alive=facts.workers.alive,
            with_room=facts.workers.with_free_slots,
            room=facts.workers.free_slots,
            last_beat_at=facts.workers.last_heartbeat_at,
        ),
    )


def _owner(facts: ChatDiagnostics) -> OwnerOut | None:
    owner = facts.worker
    if owner is None:
        return None
    return OwnerOut(
        worker_id=owner.worker_id,
        host=owner.host,
        pid=owner.pid,
        version=owner.version,
        started_at=owner.started_at,
        last_beat_at=owner.heartbeat_at,
        last_beat_seconds_ago=_ago(facts, owner.heartbeat_at),
    )


def _doing(facts: ChatDiagnostics, doing: Activity | None) -> DoingOut | None:
    if doing is None:
        return None
    return DoingOut(
        zone=doing.stage,
        since=doing.started_at,
        until=doing.deadline_at,
        said_seconds_ago=_ago(facts, facts.heartbeat_at),
    )


def _retry(facts: ChatDiagnostics) -> RetryOut | None:
    if not facts.attempts:
        return None
    next_in = _ago(facts, facts.next_attempt_at)
    return RetryOut(
        attempts=facts.attempts,
        next_attempt_at=facts.next_attempt_at,
        next_attempt_in_seconds=None if next_in is None else -next_in,
    )


def _ago(facts: ChatDiagnostics, moment: datetime | None) -> float | None:
    return None if moment is None else facts.seconds_since(moment)
