"""The plan of a request: the transition that has it answered."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final
from uuid import UUID, uuid4

from chatd.adapters import chat_ids
from chatd.adapters.completions.chat_choice import ChatChoice
from chatd.adapters.completions.comparison import Match, answered_steps, compare
from chatd.adapters.completions.messages import Conversation
from chatd.adapters.operations import ChatOperations, NewChat
from chatd.adapters.turn_item_reader import Turn
from chatd.api.schema.content import SentContent
from chatd.domain.chat import BusyBehavior, Chat, Status
from chatd.domain.errors import ChatNotFound, IdempotencyKeyReused
from chatd.domain.given_history import MAX_GIVEN_MESSAGES
from chatd.domain.message import Message, Role, client_key

_DIALECT: Final = "completions"
_PAGE_SIZE: Final = 500
_INTERRUPTED: Final = "interrupted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The transition that has a request answered, and the first step of that turn that its client lacks."""

    chat_id: UUID
    transition: Callable[[], Awaitable[Turn]]
    first_step: int = 0
    is_kept: bool = True
    """False for a chat that goes with its request."""
    is_detached: bool = False
    """True if the request names a chat whose history is another."""


@dataclass(frozen=True, slots=True)
class Planner:
    """Planner of one request. ``new_chat`` has what a chat has that is created for it."""

    operations: ChatOperations
    conversation: Conversation
    choice: ChatChoice
    new_chat: NewChat
    key: str
    """The key of the request's message, equal for a repetition of the same list."""
    expires_in_seconds: float
    """Time after which the chat of a request that keeps none is deleted."""

    async def plan(self) -> Plan:
        """Return the plan as of now. Another request may change the chat meanwhile."""
        if self.choice.name is None:
            return self._create(uuid4(), is_kept=False)
        owner_id, name = self.operations.caller.owner_id, self.choice.name
        try:
            return await self._continue(chat_ids.chat_id(owner_id, name))
        except ChatNotFound:
            return self._create(chat_ids.new_chat_id(owner_id, name))

    def _create(self, chat_id: UUID, *, is_kept: bool = True, is_detached: bool = False) -> Plan:
        conversation = self.conversation
        chat = replace(
            self.new_chat,
            chat_id=chat_id,
            content=conversation.content,
            client_key=self.key if conversation.content else None,
            history=conversation.history if conversation.content else conversation.messages(),
            system_prompt=conversation.system_prompt,
            answers_history=conversation.content is None,
            expires_in_seconds=None if is_kept and self.choice.is_kept else self.expires_in_seconds,
        )
        return Plan(
            chat_id=chat_id,
            transition=partial(self._do_create, chat),
            first_step=conversation.answered_steps,
            is_kept=is_kept,
            is_detached=is_detached,
        )

    async def _do_create(self, chat: NewChat) -> Turn:
        _, turn = await self.operations.create(chat)
        return turn

    async def _continue(self, chat_id: UUID) -> Plan:
        """Return the plan for a chat that is there. Raises ``ChatNotFound``."""
        chat = await self.operations.chat(chat_id)
        found = await self.operations.find_turn(chat_id, self.key)
        if found is not None and found.message_id is None:
            return Plan(chat_id=chat_id, transition=partial(_attach, found))
        stored = await self._read(chat_id)
        match compare(self.conversation, stored):
            case Match.NEXT:
                return self._go_on(chat, stored)
            case Match.REPEATED:
                return self._repeat(chat, stored)
        if not self.choice.is_kept:
            raise IdempotencyKeyReused("The Idempotency-Key was used for other messages.")
        return self._detach()

    def _detach(self) -> Plan:
        return self._create(uuid4(), is_kept=False, is_detached=True)

    def _go_on(self, chat: Chat, stored: Sequence[Message]) -> Plan:
        """Return the plan that adds what the list ends with."""
        content = self.conversation.content
        if content is not None:
            return Plan(chat_id=chat.id, transition=partial(self._do_send, chat, content))
        turn = Turn(message_id=_last_question(stored).id)
        return Plan(
            chat_id=chat.id,
            transition=partial(self._do_submit, chat, turn),
            first_step=answered_steps(self.conversation, stored),
        )

    async def _do_send(self, chat: Chat, content: SentContent) -> Turn:
        # This dialect cannot answer calls after a message of the user.
        asks = chat.status is Status.REQUIRES_ACTION
        return await self.operations.send(
            chat.id,
            content,
            client_key=self.key,
            model=self.new_chat.model,
            tools=self.new_chat.tools or None,
            busy_behavior=BusyBehavior.INTERRUPT if asks else BusyBehavior.QUEUE,
            key=chat_ids.send_key(chat.owner_id, _DIALECT, chat.id, self.key, content.parts),
        )

    async def _do_submit(self, chat: Chat, turn: Turn) -> Turn:
        await self.operations.submit(chat.id, self.conversation.results)
        return turn

    def _repeat(self, chat: Chat, stored: Sequence[Message]) -> Plan:
        """Return the plan of a request that was made before: it gets the answer that it got.

        Another answer is made if the client wants one by another id, or left in the middle of it.
        """
        asked, content = _last_question(stored), self.conversation.content
        wants_other = bool(self.choice.answer) and client_key(asked.content) != self.key
        if _was_stopped(chat, stored) or (wants_other and chat.status is Status.WAITING):
            if content is None:
                return self._detach()
            return Plan(chat_id=chat.id, transition=partial(self._do_edit, chat, asked, content))
        turn = Turn(message_id=asked.id)
        retries = chat.status is Status.ERROR
        return Plan(
            chat_id=chat.id,
            transition=partial(self._do_retry, chat, turn) if retries else partial(_attach, turn),
            first_step=answered_steps(self.conversation, stored),
        )

    async def _do_edit(self, chat: Chat, asked: Message, content: SentContent) -> Turn:
        return await self.operations.edit(
            chat.id,
            asked.id,
            content,
            client_key=self.key,
            key=chat_ids.edit_key(chat.owner_id, _DIALECT, chat.id, asked.id, content.parts),
        )

    async def _do_retry(self, chat: Chat, turn: Turn) -> Turn:
        await self.operations.retry(chat.id)
        return turn

    async def _read(self, chat_id: UUID) -> Sequence[Message]:
        """Return the history, as far as a client's list can be as long."""
        messages: list[Message] = []
        has_more = True
        while has_more and len(messages) <= MAX_GIVEN_MESSAGES:
            page = await self.operations.context.store.reads.messages_after(
                chat_id, messages[-1].id if messages else 0, limit=_PAGE_SIZE
            )
            messages += page.items
            has_more = page.has_more
        return [message for message in messages if message.covers_until is None]


async def _attach(turn: Turn) -> Turn:
    """Return a turn of which nothing is to be changed."""
    return turn


def _was_stopped(chat: Chat, stored: Sequence[Message]) -> bool:
    """Return whether the last turn has no whole answer, and gets none."""
    last = stored[-1]
    is_whole = last.role is Role.ASSISTANT and last.finish_reason != _INTERRUPTED
    return chat.status is Status.INTERRUPTING or (chat.status is Status.WAITING and not is_whole)


def _last_question(stored: Sequence[Message]) -> Message:
    return next(message for message in reversed(stored) if message.role is Role.USER)
