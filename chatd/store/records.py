"""Rows of the database as values of the domain, and new messages as rows.

A chat costs some 8 us, and a message 4. The benchmark ``turns`` watches it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from operator import itemgetter
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

import asyncpg

from chatd.domain.agents import Family
from chatd.domain.chat import Chat, Status, TitleSource, Usage
from chatd.domain.compaction import CompactionRequest
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
from chatd.domain.moment import parse_moment
from chatd.domain.permission import NO_CHAT_PERMISSIONS, ChatPermissions
from chatd.domain.request_actor import RequestActor
from chatd.domain.sanitize import replace_unstorable_json
from chatd.domain.tool_call import ToolCall
from chatd.domain.transitions import Actor, Transition
from chatd.store.columns import MESSAGE_COLUMNS, PLAIN_CHAT_COLUMNS, USAGE_COLUMNS
from chatd.store.uuids import parse_uuid

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
    ledger: tuple[ToolCall, ...] | None = field(default=None, compare=False)
    """The tool calls that are open now. None: the statement does not tell."""
    replayed: bool = field(default=False, compare=False)
    """True for a repeated request."""


def chat(row: Row) -> Chat:
    """Return a row of ``chats`` as a value. Raise ``ChatUnreadable`` if its JSON has another shape."""
    return chat_of(chat_fields(row))


def chat_of(fields: dict[str, Any]) -> Chat:
    """Return the chat with these fields, which are all of them.

    The constructor of a frozen value makes a call for each, ten times the time of all else here.
    """
    made = object.__new__(Chat)
    made.__dict__.update(fields)
    return made


_SMALLEST_FAMILY: Final = 2


def family(row: Row) -> Family | None:
    """Return what a row has of the family of a chat. None: the chat is alone, or no root."""
    count = row["family_chats"]
    if count is None or count < _SMALLEST_FAMILY:
        return None
    usage = Usage(*[row[f"family_{column}"] for column in USAGE_COLUMNS])
    return Family(chats=count, usage=usage)


_plain_values, _usage_values = itemgetter(*PLAIN_CHAT_COLUMNS), itemgetter(*USAGE_COLUMNS)


def chat_fields(row: Row) -> dict[str, Any]:
    """Return the fields of ``chat``."""
    detail = row["last_error_detail"]
    if not (
        _is_labels(row["labels"])
        and (detail is None or isinstance(detail, dict))
        and (row["server_tools"] is None or _are_names(row["server_tools"]))
    ):
        raise ChatUnreadable(row["id"])
    fields: dict[str, Any] = dict(zip(PLAIN_CHAT_COLUMNS, _plain_values(row), strict=True))
    fields["status"] = Status.read(row["status"])
    fields["usage"] = Usage(*_usage_values(row))
    fields["permissions"] = _permissions(row)
    fields["title_by"] = TitleSource.read(row["title_by"])
    if (request := row["compaction_request"]) is not None:
        fields["compaction_request"] = _compaction_request(row["id"], request)
    return fields


def _compaction_request(chat_id: UUID, stored: object) -> CompactionRequest:
    if isinstance(stored, dict):
        instructions, idle_version = stored.get("instructions"), stored.get("idle_version")
        if isinstance(instructions, str | None) and isinstance(idle_version, int | None):
            return CompactionRequest(instructions, idle_version, stored.get("is_done") is True)
    raise ChatUnreadable(chat_id)


def _permissions(row: Row) -> ChatPermissions:
    stored = row["permissions"]
    if stored is None:
        return NO_CHAT_PERMISSIONS
    try:
        return ChatPermissions.read(stored)
    except (AttributeError, KeyError, TypeError):
        raise ChatUnreadable(row["id"]) from None


def _is_labels(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(label, str) for label in value.values())


def _are_names(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(names, list) and all(isinstance(name, str) for name in names)
        for names in value.values()
    )


def timestamp(value: datetime | str) -> datetime:
    """Return a moment of a row, or of an object of ``to_jsonb``."""
    return value if isinstance(value, datetime) else parse_moment(value)


_parsed_uuid = lru_cache(256)(parse_uuid)
"""UUIDs in JSON are those of few chats and models at a time."""


def _uuid(value: UUID | str) -> UUID:
    return _parsed_uuid(value) if isinstance(value, str) else value


def _optional_uuid(value: UUID | str | None) -> UUID | None:
    return None if value is None else _uuid(value)


_NO_USAGE: Final[Mapping[str, int | None]] = MappingProxyType(dict.fromkeys(USAGE_COLUMNS))


def _usage(row: Row) -> Usage | None:
    if row["input_tokens"] is None and row["output_tokens"] is None:
        return None
    return Usage(*[tokens or 0 for tokens in _usage_values(row)])


def message(row: Row) -> Message:
    """Return a row of ``chat_messages`` as a value. The row may be an object of ``to_jsonb``.

    Raise ``ChatUnreadable`` if its content has another shape.
    """
    return Message(
        id=row["id"],
        chat_id=_uuid(row["chat_id"]),
        version=row["version"],
        role=Role.read(row["role"]),
        content=_content(row),
        model_config_id=_optional_uuid(row["model_config_id"]),
        usage=_usage(row),
        finish_reason=row["finish_reason"],
        created_at=timestamp(row["created_at"]),
        superseded=row.get("superseded_version") is not None,
        covers_until=row.get("covers_until"),
        compacted=row.get("compacted") or False,
        size=row.get("page_bytes") or 0,
    )


def given_messages(row: Row, version: int) -> list[dict[str, Any]]:
    """Return rows of the messages that a statement stored as it was given them, in ``new_messages``.

    Those are in the shape of ``message_rows``. The journal entry of the transition to ``version`` has their
    ids. All were made at its moment.
    """
    given = row["new_messages"]
    columns = {
        "chat_id": row["id"],
        "version": version,
        "created_at": row["entry_created_at"],
        "page_bytes": row["new_bytes"],
        "visibility": Visibility.BOTH,
        "finish_reason": None,
    }
    ids = row["entry_data"].get("messages", ())
    return [
        columns | each | (each.get("usage") or _NO_USAGE) | {"id": message_id}
        for each, message_id in zip(given, ids, strict=True)
    ]


_message_values = itemgetter(*(f"message_{name}" for name in MESSAGE_COLUMNS))


def message_beside_chat(row: Row) -> Message:
    """Return the message of a row that has columns of a chat, too: those of the message have a prefix."""
    return message(dict(zip(MESSAGE_COLUMNS, _message_values(row), strict=True)))


def _content(row: Row) -> Content:
    content = row["content"]
    if isinstance(content, list) and all(map(_is_part, content)):
        return tuple(content)
    raise ChatUnreadable(_uuid(row["chat_id"]))


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
            "usage": message.usage.by_kind() if message.usage else None,
        }
        for message in messages
    ]


def queued_message(row: Row) -> QueuedMessage:
    """Return a row of ``chat_queued_messages`` as a value."""
    return QueuedMessage(
        id=row["id"],
        chat_id=_uuid(row["chat_id"]),
        content=_content(row),
        model_config_id=_uuid(row["model_config_id"]),
        created_at=timestamp(row["created_at"]),
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
        raise ChatUnreadable(_uuid(row["chat_id"]))
    return JournalEntry(
        chat_id=_uuid(row["chat_id"]),
        version=row["version"],
        created_at=timestamp(row["created_at"]),
        transition=Transition.read(row["transition"]),
        status=Status.read(row["status"]),
        epoch=row["epoch"],
        worker_id=_optional_uuid(row["worker_id"]),
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
