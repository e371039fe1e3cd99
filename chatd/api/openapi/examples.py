"""An example of everything that a caller sends or gets, by the name of its schema.

They are one conversation, so that they can be read beside each other. The tests see that each fits
its schema, and that none is missing.
"""

from collections.abc import Mapping
from typing import Any, Final

_CHAT_ID: Final = "5bd0a6e5-6d3c-4a3e-9f0e-2f6f8c1d7a10"
_MODEL_ID: Final = "0d9e1c0a-51f7-5f57-8f0b-3f5a4f1f6c22"
_WORKER_ID: Final = "b0f1a3c2-7f0e-4f7b-9a51-9f0d3b8f4c77"
_STARTED_AT: Final = "2026-03-01T09:30:00.120000Z"
_ENDED_AT: Final = "2026-03-01T09:30:02.480000Z"

USAGE: Final = {
    "input_tokens": 12,
    "output_tokens": 48,
    "cache_read_tokens": 0,
    "cache_write_tokens": 0,
    "reasoning_tokens": 0,
}
FAILURE: Final = {
    "kind": "overloaded",
    "message": "The model is overloaded.",
    "provider": "anthropic",
    "model": "claude-sonnet",
    "status_code": 529,
    "retryable": True,
    "attempts": 1,
    "at": _ENDED_AT,
}
CHAT: Final = {
    "id": _CHAT_ID,
    "owner_id": "local",
    "parent_chat_id": None,
    "root_chat_id": _CHAT_ID,
    "title": "The sky",
    "status": "waiting",
    "last_error": None,
    "last_error_detail": None,
    "action_deadline": None,
    "archived": False,
    "labels": {"topic": "physics"},
    "model": "fast",
    "last_model_config_id": _MODEL_ID,
    "version": 3,
    "queue_length": 0,
    "usage": USAGE,
    "created_at": _STARTED_AT,
    "updated_at": _ENDED_AT,
}
QUESTION: Final = {
    "id": 1,
    "chat_id": _CHAT_ID,
    "role": "user",
    "content": [{"type": "text", "text": "Why is the sky blue?"}],
    "model": "fast",
    "usage": None,
    "finish_reason": None,
    "created_at": _STARTED_AT,
}
ANSWER: Final = {
    "id": 2,
    "chat_id": _CHAT_ID,
    "role": "assistant",
    "content": [{"type": "text", "text": "Air scatters blue light more than red."}],
    "model": "fast",
    "usage": USAGE,
    "finish_reason": "stop",
    "created_at": _ENDED_AT,
}
QUEUED: Final = {
    "id": 7,
    "chat_id": _CHAT_ID,
    "content": [{"type": "text", "text": "And why is it red at night?"}],
    "model": "fast",
    "created_at": _ENDED_AT,
}
_PENDING_TOOL_CALL: Final = {
    "tool_call_id": "call_1",
    "tool_name": "weather",
    "args": '{"city": "Bern"}',
}


def _event(event_type: str, data: object, cursor: str | None) -> dict[str, Any]:
    return {"event": event_type, "data": data} | ({} if cursor is None else {"id": cursor})


_DELTA: Final = {"index": 0, "type": "text", "text": "Air scat"}
_SNAPSHOT: Final = {
    "chat": CHAT,
    "messages": [QUESTION, ANSWER],
    "queue": [],
    "parts": [],
    "action_required": None,
}

EVENTS: Final[Mapping[str, Any]] = {
    "Snapshot": _event("snapshot", _SNAPSHOT, "3.1.4"),
    "StatusChanged": _event("status", {"status": "running", "epoch": 1}, "2.1.0"),
    "MessageStored": _event("message", ANSWER, "2.1.4+1"),
    "MessagePart": _event("message_part", _DELTA, "2.1.1"),
    "PreviewReset": _event("preview_reset", {}, "2.1.4+1"),
    "HistoryReset": _event("history_reset", {"from_message_id": 1}, "3.1.4+1"),
    "QueueChanged": _event(
        "queue_update", {"queue_length": 1, "added": 7, "removed": [], "head": None}, "3.1.4"
    ),
    "ActionRequired": _event(
        "action_required",
        {"calls": [_PENDING_TOOL_CALL], "deadline": "2026-03-01T09:35:02Z"},
        "3.1.4+2",
    ),
    "RetryScheduled": _event(
        "retry",
        {"attempt": 1, "delay_seconds": 1.3, "next_attempt_at": _ENDED_AT, "failure": FAILURE},
        "3.1.4",
    ),
    "TurnFailed": _event(
        "error",
        {"last_error": "The model is overloaded.", "last_error_detail": FAILURE},
        "3.1.4+1",
    ),
    "ChatUpdated": _event(
        "chat", {"title": "The sky", "labels": {"topic": "physics"}, "archived": False}, "4.1.4"
    ),
    "ChatDeleted": _event("deleted", {"id": _CHAT_ID}, None),
    "StreamReset": _event("reset", {"reason": "this cursor cannot be resumed"}, None),
    "Draining": _event("draining", {}, None),
    "ChatListSnapshot": _event("snapshot", {"items": [CHAT], "next_cursor": None}, None),
    "ChatChanged": _event("chat", CHAT, None),
}

EXAMPLES: Final[Mapping[str, Any]] = {
    **EVENTS,
    "Chat": CHAT,
    "Message": ANSWER,
    "QueuedMessage": QUEUED,
    "Usage": USAGE,
    "FailureDetail": FAILURE,
    "CreateChat": {
        "content": "Why is the sky blue?",
        "title": "The sky",
        "labels": {"topic": "physics"},
    },
    "UpdateChat": {"title": "The sky", "archived": True},
    "EditMessage": {"content": "Why is the sea blue?"},
    "SendMessage": {"content": "And why is it red at night?", "busy_behavior": "queue"},
    "SubmitToolResults": {"results": [{"tool_call_id": "call_1", "result": {"celsius": 21}}]},
    "SendMessageResult": {
        "queued": False,
        "message": QUESTION,
        "queued_message": None,
        "chat": CHAT,
    },
    "JournalEntry": {
        "version": 3,
        "created_at": _ENDED_AT,
        "transition": "finish_turn",
        "status": "waiting",
        "epoch": 1,
        "worker_id": _WORKER_ID,
        "data": {"messages": [2], "settled_part": 4, "queue_length": 0},
    },
    "Health": {"status": "ready"},
    "ProcessStatus": {
        "worker_id": _WORKER_ID,
        "host": "web-1",
        "pid": 4711,
        "phase": "serving",
        "started_at": _STARTED_AT,
        "uptime_seconds": 3.2,
        "versions": {"chatd": "0.1.0", "python": "3.13.1", "postgresql": "18.1"},
        "actors": [
            {
                "name": "heartbeat",
                "state": "running",
                "seconds": 3.1,
                "restarts": 0,
                "budget_left": 5,
                "last_error": None,
                "note": "",
            }
        ],
        "chats": [
            {
                "chat_id": _CHAT_ID,
                "status": "running",
                "epoch": 1,
                "committed_steps": 0,
                "leased_seconds": 1.4,
                "stage": "model stream",
                "stage_seconds": 1.3,
                "deadline_seconds": 59.8,
                "last_progress": "streaming",
                "seconds_since_progress": 0.2,
                "lease_left_seconds": 13.6,
            }
        ],
        "free_slots": 99,
        "streams": 1,
        "pool": {"size": 10, "in_use": 1, "waiting": 0},
        "loop_lag_seconds": 0.001,
        "database_stats": {
            "seconds_ago": 2.0,
            "chats": {
                "waiting": 41,
                "pending": 0,
                "running": 1,
                "interrupting": 0,
                "requires_action": 0,
                "error": 2,
            },
            "oldest_pending_seconds": 0.0,
            "workers": 2,
        },
    },
    "Problem": {
        "type": "about:blank",
        "title": "Unprocessable Entity",
        "status": 422,
        "code": "invalid_request",
        "detail": "body.title: Input should be a valid string",
        "errors": [{"where": "body.title", "message": "Input should be a valid string"}],
    },
    "Explanation": {
        "chat_id": _CHAT_ID,
        "at": _ENDED_AT,
        "status": "waiting",
        "version": 3,
        "epoch": 1,
        "reasons": [
            {
                "code": "idle",
                "text": "idle for 12 s: there is nothing to do until a message comes",
            }
        ],
        "worker": None,
        "lease_left_seconds": None,
        "activity": None,
        "retry": None,
        "last_failure": None,
        "recoveries": 0,
        "queue_length": 0,
        "pending_since": None,
        "chats_ahead": None,
        "action_deadline": None,
        "workers": {
            "alive": 2,
            "with_free_slots": 2,
            "free_slots": 199,
            "last_heartbeat_at": _ENDED_AT,
        },
    },
    "Model": {
        "id": _MODEL_ID,
        "name": "fast",
        "provider": "anthropic",
        "context_limit": 200000,
        "default": True,
    },
}
"""Pages are made of the examples of what they hold."""
