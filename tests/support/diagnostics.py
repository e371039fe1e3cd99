"""Facts about chats, from which their state is explained."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from chatd.domain.chat import LEASED, Status
from chatd.domain.diagnostics import ChatDiagnostics, WorkerCapacity, WorkerInfo

NOW = datetime(2026, 1, 1, 14, 3, 0, tzinfo=UTC)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def workers(
    alive: int = 2,
    with_room: int = 2,
    room: int = 20,
    beat: float | None = 1,
    with_model: int | None = None,
) -> WorkerCapacity:
    last = None if beat is None else ago(beat)
    return WorkerCapacity(
        alive=alive,
        with_model=alive if with_model is None else with_model,
        with_free_slots=with_room,
        free_slots=room,
        last_heartbeat_at=last,
    )


def facts(status: Status, **more: Any) -> ChatDiagnostics:
    is_leased = status in LEASED
    chat: dict[str, Any] = {
        "now": NOW,
        "chat_id": UUID(int=1),
        "status": status,
        "archived": False,
        "epoch": 3,
        "version": 7,
        "updated_at": ago(12),
        "queue_length": 0,
        "recoveries": 0,
        "attempts": 0,
        "next_attempt_at": None,
        "last_failure": None,
        "pending_since": ago(12) if status is Status.PENDING else None,
        "chats_ahead": 0,
        "action_deadline": None,
        "worker": WorkerInfo(worker_id=UUID(int=2)) if is_leased else None,
        "heartbeat_at": ago(4) if is_leased else None,
        "reported_activity": None,
        "workers": workers(),
        "lease_seconds": 20.0,
    }
    return ChatDiagnostics(**chat | more)
