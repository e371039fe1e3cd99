"""Row of the query ``explain`` as a value of the domain."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from chatd.domain.chat import Status
from chatd.domain.diagnostics import (
    Activity,
    AwaitedChat,
    ChatDiagnostics,
    WorkerCapacity,
    WorkerInfo,
)
from chatd.domain.moment import parse_moment
from chatd.store.records import Row
from chatd.store.tool_call_records import tool_call_record


def chat_diagnostics(row: Row, *, lease_seconds: float) -> ChatDiagnostics:
    return ChatDiagnostics(
        now=row["now"],
        chat_id=row["id"],
        status=Status.read(row["status"]),
        archived=row["archived"],
        epoch=row["epoch"],
        version=row["version"],
        updated_at=row["updated_at"],
        queue_length=row["queue_length"],
        recoveries=row["recoveries"],
        attempts=row["attempts"],
        next_attempt_at=row["next_attempt_at"],
        last_failure=row["last_failure"],
        pending_since=row["pending_since"],
        chats_ahead=row["chats_ahead"],
        action_deadline=row["action_deadline"],
        worker=_worker_info(row),
        heartbeat_at=row["heartbeat_at"],
        reported_activity=_activity(row["activity"]),
        workers=WorkerCapacity(
            alive=row["alive"],
            with_model=row["with_model"],
            with_free_slots=row["with_free_slots"],
            free_slots=row["free_slots"],
            last_heartbeat_at=row["last_heartbeat_at"],
        ),
        lease_seconds=lease_seconds,
        held=row["held"],
        expires_at=row["expires_at"],
        compaction_requested=not (row["compaction_request"] or {"is_done": True}).get("is_done"),
        trace_id=_trace_id(row["claim_traceparent"] or row["request_traceparent"]),
        server_tools=row["server_tools"],
        open_calls=tuple(
            tool_call_record(
                {
                    **call,
                    "started_at": _timestamp(call["started_at"]),
                    "now": row["now"],
                }
            )
            for call in row["open_calls"] or ()
        ),
        asked=row["asked"] or {},
        awaited=[_awaited_chat(each) for each in row["awaited"] or ()],
        awaits_any=any(each["any"] for each in row["awaited"] or ()),
    )


def _trace_id(traceparent: str | None) -> str | None:
    """Return the second field of a W3C trace context."""
    return traceparent.split("-")[1] if traceparent else None


def _awaited_chat(awaited: Mapping[str, Any]) -> AwaitedChat:
    status = awaited["status"]
    return AwaitedChat(
        chat_id=UUID(awaited["chat_id"]), status=None if status is None else Status.read(status)
    )


def _worker_info(row: Row) -> WorkerInfo | None:
    if row["worker_id"] is None:
        return None
    return WorkerInfo(
        worker_id=row["worker_id"],
        host=row["host"],
        pid=row["pid"],
        version=row["worker_version"],
        started_at=row["worker_started_at"],
        heartbeat_at=row["worker_heartbeat_at"],
    )


def _activity(report: Mapping[str, Any] | None) -> Activity | None:
    if report is None:
        return None
    return Activity(
        epoch=report["epoch"],
        stage=report.get("stage"),
        started_at=_timestamp(report.get("started_at")),
        deadline_at=_timestamp(report.get("deadline_at")),
    )


def _timestamp(text: str | None) -> datetime | None:
    return parse_moment(text) if text else None
