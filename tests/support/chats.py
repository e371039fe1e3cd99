"""Chats as values, without a database."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from chatd.domain.chat import Chat, Status, TitleSource, Usage

_NOW = datetime(2026, 1, 1, tzinfo=UTC)


def leased_chat(**changes: Any) -> Chat:
    """Return a running chat of some worker, in its first epoch."""
    chat_id = uuid4()
    fields: dict[str, Any] = {
        "id": chat_id,
        "owner_id": "ann",
        "parent_chat_id": None,
        "root_chat_id": chat_id,
        "title": "",
        "title_by": TitleSource.WORDS,
        "status": Status.RUNNING,
        "last_error": None,
        "last_error_detail": None,
        "worker_id": UUID(int=1),
        "started_at": _NOW,
        "heartbeat_at": _NOW,
        "pending_since": None,
        "action_deadline": None,
        "epoch": 1,
        "version": 2,
        "committed_steps": 0,
        "settled_part": 0,
        "recoveries": 0,
        "attempts": 0,
        "next_attempt_at": None,
        "queue_length": 0,
        "archived": False,
        "labels": {},
        "last_model_config_id": UUID(int=2),
        "usage": Usage(),
        "stored_bytes": 0,
        "created_at": _NOW,
        "updated_at": _NOW,
    }
    return Chat(**(fields | changes))
