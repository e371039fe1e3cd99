"""Operations of adapters: the checks, limits and metrics of the native routes, without their bodies."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Request

from chatd.adapters.turn_item_reader import Turn
from chatd.api.auth.permissions import Access, authorize
from chatd.api.context import ApiContext, Context
from chatd.api.schema.content import SentContent
from chatd.api.scope import IDENTITY
from chatd.domain.answer import Answer
from chatd.domain.chat import BusyBehavior, Chat
from chatd.domain.message import NewMessage
from chatd.domain.tool_call import ToolResult
from chatd.store.idempotency import IdempotencyKey


@dataclass(frozen=True, slots=True, kw_only=True)
class NewChat:
    """A chat to create. Its ``content`` is answered at once; ``history`` stands before it."""

    chat_id: UUID | None = None
    content: SentContent
    client_key: str | None = None
    history: Sequence[NewMessage] = ()
    model: str | None = None
    system_prompt: str | None = None
    title: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    tools: Sequence[dict[str, Any]] = ()
    expires: bool = False
    """True for the chat of a request that keeps none."""


@dataclass(frozen=True, slots=True)
class ChatOperations:
    """Operations on the chats of one caller. Each raises what the native route of its name raises."""

    context: ApiContext
    caller: Access

    async def create(
        self, chat: NewChat, *, key: IdempotencyKey | None = None
    ) -> tuple[UUID, Turn]:
        """Create a chat, and return its id and the turn that answers it."""
        raise NotImplementedError

    async def send(
        self,
        chat_id: UUID,
        content: SentContent,
        *,
        client_key: str | None = None,
        model: str | None = None,
        busy_behavior: BusyBehavior = BusyBehavior.QUEUE,
        key: IdempotencyKey | None = None,
    ) -> Turn:
        """Send a message, and return the turn that answers it, now or from the queue."""
        raise NotImplementedError

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
        raise NotImplementedError

    async def regenerate(self, chat_id: UUID, message_id: int) -> Turn:
        """Have a message of the user answered again, and return that turn."""
        raise NotImplementedError

    async def submit(self, chat_id: UUID, results: Sequence[ToolResult]) -> None:
        """Submit results of the client's tools, of all calls that wait for one."""
        raise NotImplementedError

    async def answer(self, chat_id: UUID, answers: Sequence[Answer]) -> None:
        """Answer calls that wait for people."""
        raise NotImplementedError

    async def retry(self, chat_id: UUID) -> None:
        """Retry the turn that failed."""
        raise NotImplementedError

    async def interrupt(self, chat_id: UUID) -> Chat:
        """Stop the running turn. Safe to repeat."""
        raise NotImplementedError

    async def delete(self, chat_id: UUID) -> None:
        """Delete a chat."""
        raise NotImplementedError


async def chat_operations(request: Request, context: Context) -> ChatOperations:
    """Return the operations of the caller. Raises ``HttpProblem`` (403) without the scope ``chats``."""
    return ChatOperations(context, authorize(request.scope[IDENTITY], "send_message"))


Operations = Annotated[ChatOperations, Depends(chat_operations)]
"""Dependency of each route of an adapter."""
