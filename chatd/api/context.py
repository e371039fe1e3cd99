"""Dependencies of the routes, handed to each as a parameter."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request

from chatd.api.auth.stream_sessions import StreamSessions
from chatd.api.config import ApiConfig
from chatd.api.presenter import Presenter
from chatd.api.request.limits import RequestLimits, check_files
from chatd.api.schema import resources
from chatd.api.schema.content import SentContent
from chatd.api.schema.given_messages import (
    AnyMessageInput,
    contents_of_users,
    given_messages,
)
from chatd.domain.agents import Family
from chatd.domain.chat import Chat, Status
from chatd.domain.errors import FileNotFoundInChat, ModelNotFound
from chatd.domain.message import NewMessage
from chatd.fanout.hub import ChatHub
from chatd.fanout.list_hub import ListHub
from chatd.llm.catalog import Catalog
from chatd.store.records import TransitionResult
from chatd.store.store import Store
from chatd.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiContext:
    """Dependencies of the routes: shared parts of the process, and the configuration in force.

    ``config`` returns what the last reload left; a request reads it when it begins.
    """

    store: Store
    hub: ChatHub
    list_hub: ListHub
    metrics: Metrics
    config: Callable[[], ApiConfig]
    present: Presenter
    stream_sessions: StreamSessions
    event_retention_days: float
    lease_seconds: float
    indexes_messages: bool

    @property
    def catalog(self) -> Catalog:
        return self.config().catalog

    @property
    def limits(self) -> RequestLimits:
        return self.config().request

    @property
    def keepalive_seconds(self) -> float:
        return self.config().keepalive_seconds

    def model_id(self, name: str | None) -> UUID | None:
        """Return the id of the model with this name, None for None. Raises ``ModelNotFound``."""
        return None if name is None else self.catalog.by_name(name).id

    async def check_content(
        self,
        content: SentContent,
        *,
        model_id: UUID | None,
        chat_id: UUID | None = None,
        owner_id: str | None = None,
    ) -> SentContent:
        """Check the number of parts of a message, and that the model that will answer it takes its files.

        That is the model with this id, or else the last one of the chat. Return the content with the files
        that it names of the chat. Raise ``HttpProblem`` or ``FileNotFoundInChat``.
        """
        self.limits.check_content(content.parts)
        if content.named_files:
            content = await self._with_named_files(content, chat_id, owner_id)
        if all(part["type"] != "file" for part in content.parts):
            return content
        if model_id is None and chat_id is not None:
            chat = await self.store.reads.chat(chat_id, owner_id=owner_id)
            model_id = chat.last_model_config_id
        with suppress(ModelNotFound):  # another replica may be configured with it
            model = self.catalog.by_id(model_id) if model_id else self.catalog.default
            check_files(content.parts, self.catalog.provider_of(model).file_refusal)
        return content

    async def check_messages(
        self,
        messages: Sequence[AnyMessageInput],
        *,
        model_id: UUID | None = None,
        chat_id: UUID | None = None,
        owner_id: str | None = None,
    ) -> list[NewMessage]:
        """Check the contents of messages that a caller stores, as ``check_content`` does.

        Return them, with the files that they name of the chat.
        """
        of_users = [
            await self.check_content(each, model_id=model_id, chat_id=chat_id, owner_id=owner_id)
            for each in contents_of_users(messages)
        ]
        checked = given_messages(messages, of_users)
        for message in checked:
            self.limits.check_content(message.content)
        return checked

    async def _with_named_files(
        self, content: SentContent, chat_id: UUID | None, owner_id: str | None
    ) -> SentContent:
        if chat_id is None:
            raise FileNotFoundInChat("A new chat has no files yet. Send the data of each.")
        references = await self.store.files.references(
            chat_id, content.named_files, owner_id=owner_id
        )
        return content.with_named_files(references)

    async def present_chat(self, chat: Chat, family: Family | None = None) -> resources.Chat:
        """Return a chat as a response, with the name of its model and the calls that it waits for."""
        await self.ensure_model_names(chat.last_model_config_id)
        if chat.status is not Status.REQUIRES_ACTION:
            return self.present.chat(chat, family=family)
        actions = await self.store.tool_calls.actions(chat.id, owner_id=chat.owner_id)
        return self.present.chat(chat, actions, family=family)

    async def present_answered(self, result: TransitionResult) -> resources.Chat:
        """Return a chat whose calls were answered, as a response, and count the answers."""
        self.count_answers(result)
        return await self.present_chat(result.chat)

    def count_answers(self, result: TransitionResult) -> None:
        """Count the answers that a transition stored."""
        if result.entry is not None and not result.replayed:
            for call in result.entry.data.get("answered", ()):
                self.metrics.turns.answers.add(call["decision"])

    async def ensure_model_names(self, *model_ids: UUID | None) -> None:
        """Load the names of models that only other replicas are configured with."""
        if not all(map(self.present.has_model_name, model_ids)):
            self.present.add_model_names(await self.store.models.names())


# A coroutine, since FastAPI runs plain functions in a thread.
async def api_context(request: Request) -> ApiContext:
    """Return the context of the application."""
    context: ApiContext = request.app.state.context
    return context


Context = Annotated[ApiContext, Depends(api_context)]
