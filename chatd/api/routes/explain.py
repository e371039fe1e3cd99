"""Route that explains the state of a chat."""

from datetime import datetime
from uuid import UUID

from fastapi import APIRouter

from chatd.api.context import Context
from chatd.api.errors.problems import problem_responses
from chatd.api.request.caller import Caller
from chatd.api.schema.explanation import (
    ActivityOut,
    Explanation,
    ReasonOut,
    RetryOut,
    WorkerCapacityOut,
    WorkerInfoOut,
)
from chatd.domain.chat import Status
from chatd.domain.diagnostics import Activity, ChatDiagnostics
from chatd.domain.explain import reasons

router = APIRouter(prefix="/api/v1", tags=["chats"])


@router.get("/chats/{chat_id}/explain", responses=problem_responses("chat_not_found"))
async def explain_chat(chat_id: UUID, caller: Caller, context: Context) -> Explanation:
    """Explain the state of a chat. Names its worker, its activity, and what it waits for."""
    facts = await context.store.reads.explain(
        chat_id, owner_id=caller.owner_filter, lease_seconds=context.lease_seconds
    )
    return Explanation(
        chat_id=facts.chat_id,
        at=facts.now,
        status=facts.status,
        version=facts.version,
        epoch=facts.epoch,
        reasons=[ReasonOut(code=one.code, text=one.text) for one in reasons(facts)],
        worker=_worker_info(facts),
        lease_left_seconds=facts.lease_left_seconds,
        activity=_activity(facts, facts.activity),
        retry=_retry(facts),
        last_failure=dict(facts.last_failure) if facts.last_failure else None,
        recoveries=facts.recoveries,
        queue_length=facts.queue_length,
        pending_since=facts.pending_since,
        chats_ahead=facts.chats_ahead if facts.status is Status.PENDING else None,
        action_deadline=facts.action_deadline,
        workers=WorkerCapacityOut(
            alive=facts.workers.alive,
            with_free_slots=facts.workers.with_free_slots,
            free_slots=facts.workers.free_slots,
            last_heartbeat_at=facts.workers.last_heartbeat_at,
        ),
    )


def _worker_info(diagnostics: ChatDiagnostics) -> WorkerInfoOut | None:
    owner = diagnostics.worker
    if owner is None:
        return None
    return WorkerInfoOut(
        worker_id=owner.worker_id,
        host=owner.host,
        pid=owner.pid,
        version=owner.version,
        started_at=owner.started_at,
        last_heartbeat_at=owner.heartbeat_at,
        last_heartbeat_seconds_ago=_seconds_ago(diagnostics, owner.heartbeat_at),
    )


def _activity(diagnostics: ChatDiagnostics, activity: Activity | None) -> ActivityOut | None:
    if activity is None:
        return None
    return ActivityOut(
        stage=activity.stage,
        started_at=activity.started_at,
        deadline_at=activity.deadline_at,
        reported_seconds_ago=_seconds_ago(diagnostics, diagnostics.heartbeat_at),
    )


def _retry(diagnostics: ChatDiagnostics) -> RetryOut | None:
    if not diagnostics.attempts:
        return None
    next_in = _seconds_ago(diagnostics, diagnostics.next_attempt_at)
    return RetryOut(
        attempts=diagnostics.attempts,
        next_attempt_at=diagnostics.next_attempt_at,
        next_attempt_in_seconds=None if next_in is None else -next_in,
    )


def _seconds_ago(diagnostics: ChatDiagnostics, moment: datetime | None) -> float | None:
    return None if moment is None else diagnostics.seconds_since(moment)
