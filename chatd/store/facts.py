"""The row of ``explain`` as a value of the domain."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from chatd.domain.chat import Status
from chatd.domain.explain import Activity, ChatDiagnostics, WorkerCapacity, WorkerInfo
from chatd.store.rows import Row


def facts(row: Row, *, stale_after_seconds: float) -> ChatDiagnostics:
    return ChatDiagnostics(
        now=row["now"],
        chat_id=row["id"],
        status=Status(row["status"]),
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
        chats_ahead=row["ahead"],
        action_deadline=row["action_deadline"],
        worker=_owner(row),
        heartbeat_at=row["heartbeat_at"],
        reported_activity=_doing(row["doing"]),
        workers=WorkerCapacity(
            alive=row["alive"],
            with_free_slots=row["with_room"],
            free_slots=row["room"],
            last_heartbeat_at=row["last_beat_at"],
        ),
        lease_seconds=stale_after_seconds,
    )


def _owner(row: Row) -> WorkerInfo | None:
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


def _doing(told: Mapping[str, Any] | None) -> Activity | None:
    if told is None:
        return None
    return Activity(
        epoch=told["epoch"],
        stage=told.get("zone"),
        started_at=_moment(told.get("since")),
        deadline_at=_moment(told.get("until")),
    )


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text).astimezone(UTC) if text else None
