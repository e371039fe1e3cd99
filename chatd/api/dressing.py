"""Values of the domain, dressed as the API shows them, with the names of their models."""

from collections.abc import Mapping
from uuid import UUID

from chatd.api.parts import shown
from chatd.api.schemas import ChatOut, EntryOut, MessageOut, QueuedMessageOut, Usage
from chatd.domain.chat import Chat
from chatd.domain.event import JournalEntry
from chatd.domain.message import Message, QueuedMessage


class Dressing:
    """Makes the API's shapes of the domain's values; it knows the models' names that it was told."""

    def __init__(self) -> None:
        self._names: dict[UUID, str] = {}

    def learn(self, names: Mapping[UUID, str]) -> None:
        self._names.update(names)

    def _model(self, model_id: UUID | None) -> str | None:
        return None if model_id is None else self._names.get(model_id)

    def knows(self, model_id: UUID | None) -> bool:
        return model_id is None or model_id in self._names

    def chat(self, chat: Chat) -> ChatOut:
        return ChatOut(
            id=chat.id,
            owner_id=chat.owner_id,
            parent_chat_id=chat.parent_chat_id,
            root_chat_id=chat.root_chat_id,
            title=chat.title,
            status=chat.status,
            last_error=chat.last_error,
            last_error_detail=dict(chat.last_error_detail) if chat.last_error_detail else None,
            action_deadline=chat.action_deadline,
            archived=chat.archived,
            labels=dict(chat.labels),
            model=self._model(chat.last_model_config_id),
            last_model_config_id=chat.last_model_config_id,
            version=chat.version,
            queue_length=chat.queue_length,
            usage=Usage.of(chat.usage),
            created_at=chat.created_at,
            updated_at=chat.updated_at,
        )

    def message(self, message: Message) -> MessageOut:
        return MessageOut(
            id=message.id,
            chat_id=message.chat_id,
            role=message.role,
            content=[shown(part) for part in message.content],
            model=self._model(message.model_config_id),
            usage=Usage.of(message.usage) if message.usage else None,
            finish_reason=message.finish_reason,
            created_at=message.created_at,
        )

    def queued_message(self, message: QueuedMessage) -> QueuedMessageOut:
        return QueuedMessageOut(
            id=message.id,
            chat_id=message.chat_id,
            content=[shown(part) for part in message.content],
            model=self._model(message.model_config_id),
            created_at=message.created_at,
        )

    def entry(self, entry: JournalEntry) -> EntryOut:
        return EntryOut(
            version=entry.version,
            at=entry.created_at,
            move=entry.transition,
            status=entry.status,
            epoch=entry.epoch,
            worker_id=entry.worker_id,
            data=dict(entry.data),
        )
