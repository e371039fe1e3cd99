"""Route that explains the state of a chat."""

from datetime import datetime
from uuid import UUID

from fastapi import APIRouter

from chatd.api.context import Context
from chatd.api.errors.problems import problem_responses
from chatd.api.presenter import chosen_tools
from chatd.api.request.caller import Caller
from chatd.api.schema import explanation
from chatd.api.schema.tool_call_record import ToolCallRecord
from chatd.domain.chat import Status
from chatd.domain.diagnostics import Activity, ChatDiagnostics
from chatd.domain.explain import reasons

router = APIRouter(prefix="/api/v1", tags=["chats"])


@router.get("/chats/{chat_id}/explain", responses=problem_responses("chat_not_found"))
async def explain_chat(chat_id: UUID, caller: Caller, context: Context) -> explanation.Explanation:
    """Explain the state of a chat, and what it waits for.

    An operator (scope `operate` or `read-all`) also sees its worker and the load of all workers.
    """
    diagnostics = await context.store.reads.explain(
        chat_id, owner_id=caller.owner_filter, lease_seconds=context.lease_seconds
    )
    return explanation.Explanation(
        chat_id=diagnostics.chat_id,
        at=diagnostics.now,
        status=diagnostics.status,
        version=diagnostics.version,
        epoch=diagnostics.epoch,
        reasons=[
            explanation.Reason(code=reason.code, text=reason.text)
            for reason in reasons(diagnostics, for_operator=caller.is_operator)
        ],
        worker=_worker_info(diagnostics) if caller.is_operator else None,
        lease_left_seconds=diagnostics.lease_left_seconds,
        activity=_activity(diagnostics, diagnostics.activity),
        retry=_retry(diagnostics),
        last_failure=dict(diagnostics.last_failure) if diagnostics.last_failure else None,
        recoveries=diagnostics.recoveries,
        queue_length=diagnostics.queue_length,
        pending_since=diagnostics.pending_since,
        chats_ahead=diagnostics.chats_ahead
        if caller.is_operator and diagnostics.status is Status.PENDING
        else None,
        action_deadline=diagnostics.action_deadline,
        trace_id=diagnostics.trace_id,
        server_tools=chosen_tools(diagnostics.server_tools),
        missing_server_tools=context.limits.missing_server_tools(diagnostics.server_tools or {}),
        awaited_chats=[
            explanation.AwaitedChat(chat_id=each.chat_id, status=each.status)
            for each in diagnostics.awaited
        ],
        open_calls=[ToolCallRecord.from_domain(call) for call in diagnostics.open_calls],
        workers=_worker_capacity(diagnostics) if caller.is_operator else None,
    )


def _worker_capacity(diagnostics: ChatDiagnostics) -> explanation.WorkerCapacity:
    return explanation.WorkerCapacity(
        alive=diagnostics.workers.alive,
        with_model=diagnostics.workers.with_model,
        with_free_slots=diagnostics.workers.with_free_slots,
        free_slots=diagnostics.workers.free_slots,
        last_heartbeat_at=diagnostics.workers.last_heartbeat_at,
    )


def _worker_info(diagnostics: ChatDiagnostics) -> explanation.WorkerInfo | None:
    worker = diagnostics.worker
    if worker is None:
        return None
    return explanation.WorkerInfo(
        worker_id=worker.worker_id,
        host=worker.host,
        pid=worker.pid,
        version=worker.version,
        started_at=worker.started_at,
        last_heartbeat_at=worker.heartbeat_at,
        last_heartbeat_seconds_ago=_seconds_ago(diagnostics, worker.heartbeat_at),
    )


def _activity(
    diagnostics: ChatDiagnostics, activity: Activity | None
) -> explanation.Activity | None:
    if activity is None:
        return None
    return explanation.Activity(
        stage=activity.stage,
        started_at=activity.started_at,
        deadline_at=activity.deadline_at,
        reported_seconds_ago=_seconds_ago(diagnostics, diagnostics.heartbeat_at),
    )


def _retry(diagnostics: ChatDiagnostics) -> explanation.Retry | None:
    if not diagnostics.attempts:
        return None
    next_in = _seconds_ago(diagnostics, diagnostics.next_attempt_at)
    return explanation.Retry(
        attempts=diagnostics.attempts,
        next_attempt_at=diagnostics.next_attempt_at,
        next_attempt_in_seconds=None if next_in is None else -next_in,
    )


def _seconds_ago(diagnostics: ChatDiagnostics, moment: datetime | None) -> float | None:
    return None if moment is None else diagnostics.seconds_since(moment)
