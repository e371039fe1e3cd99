"""Results of transitions, from the rows of their statements.

Those of a turn that is claimed on send cost some 40 us, since each row becomes one value. The
benchmark ``turns`` watches it.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from chatd.domain.chat import Chat, Status
from chatd.domain.journal import JournalEntry
from chatd.domain.message import Content, Message, QueuedMessage, Visibility
from chatd.domain.transitions import Transition
from chatd.store.records import (
    Row,
    TransitionResult,
    chat,
    chat_fields,
    chat_of,
    given_messages,
    message,
    queued_message,
    timestamp,
)
from chatd.store.tool_call_records import ledger


@dataclass(frozen=True, slots=True)
class _StoredMessages:
    shown: tuple[Message, ...] = ()
    """Those that people are shown, as ``updates_since`` reads them."""
    to_model: tuple[Message, ...] = ()
    """Those that the model is shown."""


_NO_MESSAGES = _StoredMessages()


def transition_result(
    row: Row, transition: Transition, worker_id: UUID | None = None
) -> TransitionResult:
    """Return a row of a transition's statement as a value."""
    queued = row.get("queued")
    result = _result(
        chat(row),
        (row["entry_created_at"], row["entry_data"]),
        transition,
        worker_id,
        _stored_messages(row, row["version"]),
        queued_message(queued) if queued else None,
    )
    return replace(result, ledger=ledger(row["ledger"])) if "ledger" in row else result


def results_with_claim(
    row: Row, transition: Transition, worker_id: UUID
) -> tuple[TransitionResult, TransitionResult]:
    """Return a row of a statement that made a chat pending and claimed it as the values of the two."""
    fields = chat_fields(row)
    pending = {
        "status": Status.PENDING,
        "version": row["version"] - 1,
        "epoch": row["epoch"] - 1,
        "worker_id": None,
        "started_at": None,
        "heartbeat_at": None,
        "pending_since": row["started_at"],
        "settled_part": row["unclaimed_settled_part"],
        "claim_traceparent": row["unclaimed_traceparent"],
    }
    result = _result(
        chat_of(fields | pending),
        (row["entry_created_at"], row["entry_data"]),
        transition,
        None,
        _stored_messages(row, row["version"] - 1),
    )
    if "ledger" in row:
        result = replace(result, ledger=ledger(row["ledger"]))
    claim = (row["claim_created_at"], row["claim_data"])
    return result, _result(chat_of(fields), claim, Transition.CLAIM, worker_id, _NO_MESSAGES)


def _result(
    updated_chat: Chat,
    created_entry: tuple[datetime | None, Any],
    transition: Transition,
    worker_id: UUID | None,
    stored: _StoredMessages,
    queued: QueuedMessage | None = None,
) -> TransitionResult:
    """Return the result of a transition. ``created_entry`` is when its entry was made, and its data."""
    created_at, data = created_entry
    entry = None
    if created_at is not None:
        entry = JournalEntry(
            chat_id=updated_chat.id,
            version=updated_chat.version,
            created_at=timestamp(created_at),
            transition=transition,
            status=updated_chat.status,
            epoch=updated_chat.epoch,
            worker_id=worker_id,
            data=data,
            messages=stored.shown,
        )
    return TransitionResult(
        chat=updated_chat,
        entry=entry,
        messages=stored.shown,
        queued_message=queued,
        model_messages=stored.to_model,
    )


def replayed_result(row: Row, transition: Transition, content: Content) -> TransitionResult:
    """Return a row of ``idempotency.lookup`` as a value.

    A queued message that has left the queue is made of ``content``, which the request repeats.
    """
    current_chat, stored = chat(row), _stored_messages(row, row["version"])
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
            messages=stored.shown,
        )
    return TransitionResult(
        chat=current_chat,
        entry=entry,
        messages=stored.shown,
        queued_message=_replayed_queued_message(row, current_chat, content),
        model_messages=stored.to_model,
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


def _stored_messages(row: Row, version: int) -> _StoredMessages:
    """Return the messages that the transition to ``version`` stored.

    A statement returns them as they are stored, or as it was given them, which costs PostgreSQL less.
    """
    given = row.get("new_messages")
    rows = row["messages"] if given is None else given_messages(row, version)
    if not rows:
        return _NO_MESSAGES
    stored = [(each["visibility"], message(each)) for each in rows]
    return _StoredMessages(
        tuple([each for visibility, each in stored if visibility != Visibility.MODEL]),
        tuple([each for visibility, each in stored if visibility != Visibility.USER]),
    )
