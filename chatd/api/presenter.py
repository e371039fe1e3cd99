"""Converts domain objects to API response models, and resolves model ids to names."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from chatd.api.request.pagination import chat_page
from chatd.api.schema import resources
from chatd.api.schema.construct import constructor
from chatd.api.schema.tools import ToolRule
from chatd.domain.agents import Family
from chatd.domain.chat import Chat, Usage
from chatd.domain.journal import JournalEntry
from chatd.domain.message import (
    Message,
    Part,
    QueuedMessage,
    public_delta,
    public_part,
)
from chatd.domain.snapshot import ChatListSnapshot, ChatSnapshot
from chatd.domain.stream_events import StreamEvent

_chat, _message = constructor(resources.Chat), constructor(resources.Message)
_usage = constructor(resources.Usage)


class Presenter:
    """Converter of domain objects to responses, with a cache of model names by id."""

    def __init__(self) -> None:
        self._model_names: dict[UUID, str] = {}

    def add_model_names(self, names: Mapping[UUID, str]) -> None:
        self._model_names.update(names)

    def model_name(self, model_id: UUID | None) -> str | None:
        """Return the name of a model. None: it is not known, see ``ApiContext.ensure_model_names``."""
        return None if model_id is None else self._model_names.get(model_id)

    def has_model_name(self, model_id: UUID | None) -> bool:
        return model_id is None or model_id in self._model_names

    def chat(
        self,
        chat: Chat,
        actions: Sequence[Mapping[str, Any]] | None = None,
        family: Family | None = None,
    ) -> resources.Chat:
        return _chat(
            id=chat.id,
            owner_id=chat.owner_id,
            parent_chat_id=chat.parent_chat_id,
            root_chat_id=chat.root_chat_id,
            title=chat.title,
            status=chat.status,
            last_error=chat.last_error,
            last_error_detail=dict(chat.last_error_detail) if chat.last_error_detail else None,
            action_deadline=chat.action_deadline,
            actions=None if actions is None else [dict(each) for each in actions],
            archived=chat.archived,
            labels=dict(chat.labels),
            server_tools=chosen_tools(chat.server_tools),
            permission_mode=chat.permissions.mode,
            tool_rules=[ToolRule.from_domain(rule) for rule in chat.permissions.rules],
            remembered_tools=dict(chat.permissions.remembered),
            model=self.model_name(chat.last_model_config_id),
            last_model_config_id=chat.last_model_config_id,
            version=chat.version,
            queue_length=chat.queue_length,
            usage=_usage_of(chat.usage),
            family=None if family is None else _family_of(family),
            stored_bytes=chat.stored_bytes,
            created_at=chat.created_at,
            updated_at=chat.updated_at,
            expires_at=chat.expires_at,
        )

    def event(self, event: StreamEvent) -> object:
        """Return the data of an event."""
        data: Any = event.data
        match data:
            case Message():
                return self.message(data)
            case Chat():
                return self.chat(data)
            case ChatSnapshot():
                return self._snapshot(data)
            case ChatListSnapshot(chats, has_more):
                return chat_page(chats, self.chat, has_more=has_more)
            case _:
                return data

    def _snapshot(self, snapshot: ChatSnapshot) -> Mapping[str, object]:
        deltas = map(public_delta, snapshot.parts)
        return {
            "chat": self.chat(snapshot.chat),
            "messages": [self.message(message) for message in snapshot.messages],
            "older_cursor": str(snapshot.messages[0].id) if snapshot.has_older else None,
            "queue": [self.queued_message(message) for message in snapshot.queue],
            "parts": [delta for delta in deltas if delta is not None],
            "action_required": snapshot.action_required,
        }

    def message(self, message: Message) -> resources.Message:
        return _message(
            id=message.id,
            chat_id=message.chat_id,
            role=message.role,
            content=[_public_part(part, message.chat_id) for part in message.content],
            model=self.model_name(message.model_config_id),
            usage=_usage_of(message.usage) if message.usage else None,
            finish_reason=message.finish_reason,
            compacted=message.compacted,
            created_at=message.created_at,
        )

    def queued_message(self, message: QueuedMessage) -> resources.QueuedMessage:
        return resources.QueuedMessage(
            id=message.id,
            chat_id=message.chat_id,
            content=[_public_part(part, message.chat_id) for part in message.content],
            model=self.model_name(message.model_config_id),
            created_at=message.created_at,
        )

    def journal_entry(self, entry: JournalEntry, *, for_operator: bool) -> resources.JournalEntry:
        """Return an entry. Only an operator sees the actor who acted for the owner."""
        actor = None if entry.acted_for and not for_operator else entry.actor
        return resources.JournalEntry(
            version=entry.version,
            created_at=entry.created_at,
            transition=entry.transition,
            status=entry.status,
            epoch=entry.epoch,
            actor=None
            if actor is None
            else resources.JournalActor(owner_id=actor.owner_id, token_id=actor.token_id),
            worker_id=entry.worker_id,
            data=dict(entry.data),
        )


def _usage_of(usage: Usage) -> resources.Usage:
    return _usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        reasoning_tokens=usage.reasoning_tokens,
    )


def _family_of(family: Family) -> resources.Family:
    return resources.Family(chats=family.chats, usage=_usage_of(family.usage))


def chosen_tools(choice: Mapping[str, Sequence[str]] | None) -> dict[str, list[str]] | None:
    """Return a choice among the server's tools."""
    return None if choice is None else {kind: [*names] for kind, names in choice.items()}


def _public_part(part: Part, chat_id: UUID) -> dict[str, Any]:
    """Return a part of a stored message without the provider's own data, and a file with its URL."""
    if part["type"] == "file":
        return {**part, "url": f"/api/v1/chats/{chat_id}/files/{part['file_id']}"}
    if "files" in part:
        return {**part, "files": [_public_part(file, chat_id) for file in part["files"]]}
    return {**public_part(part)}
