"""Rows of the database as values of the domain, and new messages as rows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg

from chatd.domain.chat import Chat, Status, Usage
from chatd.domain.errors import ChatUnreadable
from chatd.domain.journal import JournalEntry
from chatd.domain.message import (
    Content,
    Message,
    NewMessage,
    Part,
    QueuedMessage,
    Role,
    Visibility,
)
from chatd.domain.request_actor import RequestActor
from chatd.domain.sanitize import replace_unstorable_json
from chatd.domain.transitions import Actor, Transition
from chatd.store.columns import PLAIN_CHAT_COLUMNS, USAGE_COLUMNS

Row = asyncpg.Record | Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class TransitionResult:
    """Result of a transition: the updated chat, and the journal entry (None: nothing changed).

    The result of a repeated request has the same rows as they are now. The entry is None as well once the
    journal does not hold it any more.
    """

    chat: Chat
    entry: JournalEntry | None
    messages: tuple[Message, ...] = ()
    """The stored messages that people are shown."""
    queued_message: QueuedMessage | None = None
    model_messages: tuple[Message, ...] = ()
    """The stored messages that the model is shown."""
    replayed: bool = field(default=False, compare=False)
    """True for a repeated request."""


def chat(row: Row) -> Chat:
    """Return a row of ``chats`` as a value. Raise ``ChatUnreadable`` if its JSON has another shape."""
    if not (_is_labels(row["labels"]) and isinstance(row["last_error_detail"], dict | None)):
        raise ChatUnreadable(row["id"])
    return Chat(
        status=Status.read(row["status"]),
        usage=Usage(*(row[name] for name in USAGE_COLUMNS)),
        **{name: row[name] for name in PLAIN_CHAT_COLUMNS},
    )


def _is_labels(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(label, str) for label in value.values())


def _timestamp(value: datetime | str) -> datetime:
    if isinstance(value, datetime):
        return value
    return datetime.fromisoformat(value).astimezone(UTC)  # JSON has the server's time zone


def _uuid(value: UUID | str | None) -> UUID | None:
    return UUID(value) if isinstance(value, str) else value


def _usage(row: Row) -> Usage | None:
    if row["input_tokens"] is None and row["output_tokens"] is None:
        return None
    return Usage(*(row[name] or 0 for name in USAGE_COLUMNS))


def message(row: Row) -> Message:
    """Return a row of ``chat_messages`` as a value. The row may be an object of ``to_jsonb``.

    Raise ``ChatUnreadable`` if its content has another shape.
    """
    return Message(
        id=row["id"],
        chat_id=UUID(str(row["chat_id"])),
        version=row["version"],
        role=Role.read(row["role"]),
        content=_content(row),
        model_config_id=_uuid(row["model_config_id"]),
        usage=_usage(row),
        finish_reason=row["finish_reason"],
        created_at=_timestamp(row["created_at"]),
        superseded=row.get("superseded_version") is not None,
        size=row.get("page_bytes") or 0,
    )


def _content(row: Row) -> Content:
    content = row["content"]
    if isinstance(content, list) and all(map(_is_part, content)):
        return tuple(content)
    raise ChatUnreadable(UUID(str(row["chat_id"])))


def _is_part(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("type"), str)


def message_rows(messages: Sequence[NewMessage]) -> list[dict[str, Any]]:
    """Return new messages in the shape that ``chat_message_rows`` reads, without unstorable text."""
    return [
        {
            "role": message.role.value,
            "content": replace_unstorable_json(message.content),
            "visibility": message.visibility.value,
            "model_config_id": message.model_config_id,
            "finish_reason": message.finish_reason,
            "usage": asdict(message.usage) if message.usage else None,
        }
        for message in messages
    ]


def queued_message(row: Row) -> QueuedMessage:
    """Return a row of ``chat_queued_messages`` as a value."""
    return QueuedMessage(
        id=row["id"],
        chat_id=UUID(str(row["chat_id"])),
        content=_content(row),
        model_config_id=UUID(str(row["model_config_id"])),
        created_at=_timestamp(row["created_at"]),
    )


def parts_after(
    part_number: int, batches: Iterable[tuple[int, Sequence[Part]]]
) -> tuple[Part, ...]:
    """Return the parts after ``part_number``, from ordered batches with the numbers of their first parts.

    Batches overlap if a flush was repeated. Early ones are missing if the server crashed. Parts after a gap
    are left out.
    """
    result: list[Part] = []
    for first, parts in batches:
        known = part_number + 1 - first
        if known < 0:
            break
        result.extend(parts[known:])
        part_number = max(part_number, first + len(parts) - 1)
    return tuple(result)


def journal_entry(row: Row) -> JournalEntry:
    """Return a row of ``chat_events`` as a value, with its messages if ``updates_since`` read it."""
    if not isinstance(row["data"], dict):
        raise ChatUnreadable(UUID(str(row["chat_id"])))
    return JournalEntry(
        chat_id=UUID(str(row["chat_id"])),
        version=row["version"],
        created_at=_timestamp(row["created_at"]),
        transition=Transition.read(row["transition"]),
        status=Status.read(row["status"]),
        epoch=row["epoch"],
        worker_id=_uuid(row["worker_id"]),
        data=row["data"],
        messages=tuple(map(message, row.get("messages") or ())),
    )


def journal_entry_with_actor(row: Row) -> JournalEntry:
    """Return a row of the query ``journal``, which has the owner of the chat, as a value."""
    entry = journal_entry(row)
    if entry.transition.rule.actor is not Actor.CALLER:
        return entry
    acting_owner_id = row["actor_owner_id"]
    return replace(
        entry,
        actor=RequestActor(acting_owner_id or row["owner_id"], row["actor_token_id"]),
        acted_for=acting_owner_id is not None,
    )


def transition_result(
    row: Row, transition: Transition, worker_id: UUID | None = None
) -> TransitionResult:
    """Return a row of a transition's statement as a value."""
    updated_chat = chat(row)
    queued = row.get("queued")
    messages = _messages_except(row, Visibility.MODEL)  # as ``updates_since`` reads them
    entry = None
    if row["entry_created_at"] is not None:
        entry = JournalEntry(
            chat_id=updated_chat.id,
            version=updated_chat.version,
            created_at=_timestamp(row["entry_created_at"]),
            transition=transition,
            status=updated_chat.status,
            epoch=updated_chat.epoch,
            worker_id=worker_id,
            data=row["entry_data"],
            messages=messages,
        )
    return TransitionResult(
        chat=updated_chat,
        entry=entry,
        messages=messages,
        queued_message=queued_message(queued) if queued else None,
        model_messages=_messages_except(row, Visibility.USER),
    )


def unclaimed(row: Row) -> Row:
    """Return the row of a statement that made a chat pending and claimed it, as it was between the two."""
    return {
        **row,
        "status": Status.PENDING.value,
        "version": row["version"] - 1,
        "epoch": row["epoch"] - 1,
        "worker_id": None,
        "started_at": None,
        "heartbeat_at": None,
        "pending_since": row["started_at"],
        "settled_part": row["unclaimed_settled_part"],
        "claim_traceparent": row["unclaimed_traceparent"],
    }


def claimed(row: Row) -> Row:
    """Return the same row as that of the claim alone."""
    return {
        **row,
        "entry_created_at": row["claim_created_at"],
        "entry_data": row["claim_data"],
        "messages": None,
    }


def replayed_result(row: Row, transition: Transition, content: Content) -> TransitionResult:
    """Return a row of ``idempotency.lookup`` as a value.

    A queued message that has left the queue is made of ``content``, which the request repeats.
    """
    current_chat = chat(row)
    messages = _messages_except(row, Visibility.MODEL)
    entry = None
    if row["entry_version"] is not None:
        entry = JournalEntry(
            chat_id=current_chat.id,
            version=row["entry_version"],
            created_at=row["entry_created_at"],
            transition=transition,
            status=Status.read(row["entry_status"]),
            epoch=row["entry_epoch"],
            worker_id=None,
            data=row["entry_data"],
            messages=messages,
        )
    return TransitionResult(
        chat=current_chat,
        entry=entry,
        messages=messages,
        queued_message=_replayed_queued_message(row, current_chat, content),
        model_messages=_messages_except(row, Visibility.USER),
        replayed=True,
    )


def _replayed_queued_message(
    row: Row, current_chat: Chat, content: Content
) -> QueuedMessage | None:
    if row["queued_id"] is None:
        return None
    if row["queued"] is not None:
        return queued_message(row["queued"])
    return QueuedMessage(
        id=row["queued_id"],
        chat_id=current_chat.id,
        content=content,
        model_config_id=current_chat.last_model_config_id,
        created_at=row["key_created_at"],
    )


def _messages_except(row: Row, visibility: Visibility) -> tuple[Message, ...]:
    return tuple(
        message(stored) for stored in row["messages"] or () if stored["visibility"] != visibility
    )
