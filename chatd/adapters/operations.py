"""Operations of adapters: the checks, limits and metrics of the native routes, without their bodies."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Depends, Request

from chatd.adapters.turn_item_reader import Turn
from chatd.api.auth.permissions import Access, authorize
from chatd.api.context import ApiContext, Context
from chatd.api.errors.problems import FieldProblem, invalid_request
from chatd.api.routes.actions import check_contents
from chatd.api.schema.content import SentContent
from chatd.api.schema.tools import Tool
from chatd.api.schema.types import MAX_BIGINT
from chatd.api.scope import IDENTITY
from chatd.domain.answer import Answer
from chatd.domain.chat import BusyBehavior, Chat
from chatd.domain.errors import MessageNotFound
from chatd.domain.given_history import find_history_fault
from chatd.domain.message import MAX_CLIENT_KEY_LENGTH, Message, NewMessage, Role, with_client_key
from chatd.domain.tool_call import ToolResult
from chatd.store.idempotency import IdempotencyKey
from chatd.store.records import TransitionResult

_PAGE_SIZE: Final = 100
"""Messages that are read at once to find the last one of the user. A turn has few more."""
_IDS_PER_VERSION: Final = 1_000_000
"""Of ``chat_message_id``: the messages of a transition have ids from its version times this on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewChat:
    """A chat to create. Its ``content`` is answered at once; ``history`` stands before it.

    Without ``content`` the chat waits for a message, unless it ``answers_history``: that ends with results
    of tool calls then.
    """

    chat_id: UUID | None = None
    content: SentContent | None = None
    client_key: str | None = None
    history: Sequence[NewMessage] = ()
    answers_history: bool = False
    model: str | None = None
    system_prompt: str | None = None
    title: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    tools: Sequence[Tool] = ()
    expires_in_seconds: float | None = None
    """Time after which the chat of a request that keeps none is deleted. None: it is kept."""


@dataclass(frozen=True, slots=True)
class ChatOperations:
    """Operations on the chats of one caller. Each raises what the native route of its name raises."""

    context: ApiContext
    caller: Access

    async def create(
        self, chat: NewChat, *, key: IdempotencyKey | None = None
    ) -> tuple[UUID, Turn]:
        """Create a chat, and return its id and the turn that answers it, which is none if it waits."""
        context = self.context
        model = (
            context.catalog.default if chat.model is None else context.catalog.by_name(chat.model)
        )
        if (fault := find_history_fault(chat.history)) is not None:
            raise invalid_request(FieldProblem(where="body.messages", message=fault))
        for message in chat.history:
            if message.role is Role.USER:
                sent = SentContent(message.content, message.files)
                await context.check_content(sent, model_id=model.id)
        content = None
        if chat.content is not None:
            content = await context.check_content(chat.content, model_id=model.id)
            content = _known_by(chat.client_key, content)
        result = await context.store.chats.create(
            owner_id=self.caller.owner_id,
            actor=self.caller.actor,
            model_config_id=model.id,
            chat_id=chat.chat_id,
            content=content.parts if content else None,
            files=content.files if content else (),
            history=chat.history,
            answers_history=chat.answers_history,
            title=chat.title,
            system_prompt=chat.system_prompt,
            labels=context.limits.check_labels(chat.labels),
            tools=self._checked_tools(chat.tools),
            expires_in_seconds=chat.expires_in_seconds,
            key=key,
        )
        waits = content is None and not chat.answers_history
        return result.chat.id, Turn() if waits else await self._turn(result, chat.client_key)

    async def send(
        self,
        chat_id: UUID,
        content: SentContent,
        *,
        client_key: str | None = None,
        model: str | None = None,
        busy_behavior: BusyBehavior = BusyBehavior.QUEUE,
        earlier: Sequence[NewMessage] = (),
        tools: Sequence[Tool] | None = None,
        key: IdempotencyKey | None = None,
    ) -> Turn:
        """Send a message, and return the turn that answers it, now or from the queue.

        Messages that are ``earlier`` are stored before it. With them it is not queued. ``tools`` replace
        those of the chat.
        """
        model_id = self.context.model_id(model)
        content = await self.context.check_content(
            content, model_id=model_id, chat_id=chat_id, owner_id=self.caller.owner_id
        )
        content = _known_by(client_key, content)
        result = await self.context.store.chats.send(
            chat_id,
            owner_id=self.caller.owner_id,
            actor=self.caller.actor,
            content=content.parts,
            files=content.files,
            earlier=earlier,
            tools=None if tools is None else self._checked_tools(tools),
            model_config_id=model_id,
            busy_behavior=busy_behavior,
            key=key,
        )
        return await self._turn(result, client_key)

    async def edit(
        self,
        chat_id: UUID,
        message_id: int,
        content: SentContent,
        *,
        client_key: str | None = None,
        key: IdempotencyKey | None = None,
    ) -> Turn:
        """Edit a message of the user, and return the turn that answers it again."""
        content = await self.context.check_content(
            content, model_id=None, chat_id=chat_id, owner_id=self.caller.owner_id
        )
        content = _known_by(client_key, content)
        result = await self.context.store.messages.edit(
            chat_id,
            message_id,
            owner_id=self.caller.owner_id,
            actor=self.caller.actor,
            content=content.parts,
            files=content.files,
            key=key,
        )
        return await self._turn(result, client_key)

    async def regenerate(
        self, chat_id: UUID, message_id: int, *, key: IdempotencyKey | None = None
    ) -> Turn:
        """Have a message of the user answered again, and return that turn."""
        await self.context.store.messages.regenerate(
            chat_id, message_id, owner_id=self.caller.owner_id, actor=self.caller.actor, key=key
        )
        return Turn(message_id=message_id)

    async def submit(self, chat_id: UUID, results: Sequence[ToolResult]) -> None:
        """Submit results of the client's tools, of all calls that wait for one."""
        result = await self.context.store.tool_calls.submit(
            chat_id, owner_id=self.caller.owner_id, actor=self.caller.actor, results=results
        )
        self.context.count_answers(result)

    async def answer(self, chat_id: UUID, answers: Sequence[Answer]) -> None:
        """Answer calls that wait for people or for the client, some or all."""
        await check_contents(chat_id, answers, self.caller.owner_id, self.context)
        result = await self.context.store.tool_calls.answer(
            chat_id, owner_id=self.caller.owner_id, actor=self.caller.actor, answers=answers
        )
        self.context.count_answers(result)

    async def retry(self, chat_id: UUID) -> None:
        """Retry the turn that failed."""
        await self.context.store.chats.retry(
            chat_id, owner_id=self.caller.owner_id, actor=self.caller.actor
        )

    async def interrupt(self, chat_id: UUID) -> Chat:
        """Stop the running turn. Safe to repeat."""
        result = await self.context.store.chats.interrupt(
            chat_id, owner_id=self.caller.owner_id, actor=self.caller.actor
        )
        return result.chat

    async def delete(self, chat_id: UUID) -> None:
        """Delete a chat."""
        await self.context.store.chats.delete(chat_id, owner_id=self.caller.owner_id)

    async def remove_queued(self, chat_id: UUID, queued_id: int) -> None:
        """Remove a message from the queue."""
        await self.context.store.queue.remove(
            chat_id, queued_id, owner_id=self.caller.owner_id, actor=self.caller.actor
        )

    async def chat(self, chat_id: UUID) -> Chat:
        """Return a chat of the caller. Raises ``ChatNotFound``."""
        return await self.context.store.reads.chat(chat_id, owner_id=self.caller.owner_id)

    async def latest_turn(self, chat_id: UUID) -> Turn | None:
        """Return the last turn of the history of a chat of the caller. None: it has none."""
        await self.chat(chat_id)
        before, has_more = MAX_BIGINT, True
        while has_more:
            page = await self.context.store.reads.messages_before(chat_id, before, limit=_PAGE_SIZE)
            users = [message for message in page.items if _is_question(message)]
            if users:
                return Turn(message_id=users[-1].id)
            before, has_more = page.items[0].id if page.items else 0, page.has_more
        return None

    async def find_turn(self, chat_id: UUID, client_key: str) -> Turn | None:
        """Return the turn of the message with this key, in the history or in the queue. None: no such."""
        found = await self.context.store.reads.message_by_client_key(
            chat_id, client_key_of(client_key), owner_id=self.caller.owner_id
        )
        if found is None:
            return None
        turn = Turn(client_key=client_key_of(client_key))
        if isinstance(found, Message):
            return replace(turn, message_id=found.id)
        return replace(turn, queued_id=found.id)

    def _checked_tools(self, tools: Sequence[Tool]) -> Sequence[Mapping[str, Any]]:
        return [tool.model_dump() for tool in self.context.limits.check_tools(tools)]

    async def _turn(self, result: TransitionResult, client_key: str | None) -> Turn:
        """Return the turn of the message that a transition stored or queued.

        A repeated request has neither if the message was in the queue and moved on. Raises
        ``MessageNotFound`` once it was taken out.
        """
        turn = Turn(client_key=client_key_of(client_key) if client_key else None)
        if result.queued_message is not None:
            after_id = 0 if result.entry is None else result.entry.version * _IDS_PER_VERSION
            return replace(turn, queued_id=result.queued_message.id, after_id=after_id)
        asked = [message.id for message in result.messages if _is_question(message)]
        if asked:
            is_new = result.entry is not None and not result.replayed
            begun_at = result.entry.version if result.entry and is_new else None
            return replace(turn, message_id=asked[-1], begun_at=begun_at)
        found = await self.find_turn(result.chat.id, client_key) if client_key else None
        if found is None:
            raise MessageNotFound("The message of this request is not in the chat any more.")
        return found


async def chat_operations(request: Request, context: Context) -> ChatOperations:
    """Return the operations of the caller. Raises ``HttpProblem`` (403) without the scope ``chats``."""
    return ChatOperations(context, authorize(request.scope[IDENTITY], "send_message"))


Operations = Annotated[ChatOperations, Depends(chat_operations)]
"""Dependency of each route of an adapter."""


def client_key_of(given: str) -> str:
    """Return the key under which a client's own id is stored: the id, or a hash of one that is too long."""
    if len(given) <= MAX_CLIENT_KEY_LENGTH:
        return given
    return hashlib.sha256(given.encode("utf-8", "surrogatepass")).hexdigest()


def _known_by(client_key: str | None, content: SentContent) -> SentContent:
    if not client_key:
        return content
    return replace(content, parts=with_client_key(content.parts, client_key_of(client_key)))


def _is_question(message: Message) -> bool:
    return message.role is Role.USER and message.covers_until is None
