"""Transitions that requests of a client ask for, and the turn that each of them streams."""

import re
from typing import Final
from uuid import UUID

from chatd.adapters.ai_sdk.messages import (
    answered_calls,
    answers,
    earlier_messages,
    system_prompt,
    user_content,
)
from chatd.adapters.ai_sdk.request import ChatRequest, UIMessage
from chatd.adapters.ai_sdk.wire import message_id
from chatd.adapters.chat_ids import edit_key, new_chat_id, regenerate_key, send_key
from chatd.adapters.client_history import Intent, intent
from chatd.adapters.config import AdapterConfig
from chatd.adapters.operations import ChatOperations, NewChat, client_key_of
from chatd.adapters.turn_item_reader import Turn
from chatd.api.errors.problems import FieldProblem, invalid_request
from chatd.api.schema.content import SentContent
from chatd.api.schema.tools import Tool
from chatd.domain.chat import IDLE, BusyBehavior, Chat, Status
from chatd.domain.compaction import COMPACTION_PART
from chatd.domain.errors import (
    AlreadyAnswered,
    ChatBusy,
    ChatExists,
    ChatNotFound,
    IdempotencyKeyReused,
    NoActionRequired,
    NothingToRetry,
    ToolCallUnknown,
    ToolResultsMissing,
)
from chatd.domain.message import Message, QueuedMessage, Role

_DIALECT: Final = "ai_sdk"
_TRIES: Final = 4
"""Times that a request is read anew against what is stored, since others change it meanwhile."""
_PAGE: Final = 100
"""Messages that are read at once."""
_NATIVE_ID: Final = re.compile(r"m([0-9]{1,18})")
"""The id of a message that another client sent, in a hydrated list."""
_ANSWER_ID: Final = re.compile(r"a[0-9]{1,18}")
_OVERTAKEN: Final = (
    AlreadyAnswered,
    ChatExists,
    IdempotencyKeyReused,
    NoActionRequired,
    NothingToRetry,
    ToolCallUnknown,
)
"""Refusals which say that another request was faster."""


class AtRest(Exception):
    """The chat has no turn under way, or there is no such chat."""


class TurnUnderWay:
    """The turn of a chat that a client comes back for."""

    def __init__(self, operations: ChatOperations, chat_id: UUID) -> None:
        self._operations = operations
        self._chat_id = chat_id

    async def __call__(self) -> Turn:
        """Return the turn. Raises ``AtRest``."""
        try:
            chat = await self._operations.chat(self._chat_id)
        except ChatNotFound:
            raise AtRest from None
        turn = None
        if chat.status not in IDLE:
            turn = await self._operations.latest_turn(self._chat_id)
        if turn is None:
            raise AtRest
        return turn


class RequestedTurn:
    """The transition that a request asks for. ``first_step`` is then the first step its client has not."""

    def __init__(
        self, operations: ChatOperations, config: AdapterConfig, body: ChatRequest, chat_id: UUID
    ) -> None:
        self.first_step = 0
        self._operations = operations
        self._reads = operations.context.store.reads
        self._owner_id = operations.caller.owner_id
        self._config = config
        self._body = body
        self._messages = body.all_messages
        self._chat_id = chat_id

    async def __call__(self) -> Turn:
        """Make the transition, and return the turn that it began, or the one that was there already."""
        if not self._messages:
            raise invalid_request(FieldProblem(where="body.messages", message="must not be empty"))
        for _ in range(_TRIES - 1):
            try:
                return await self._transition()
            except _OVERTAKEN:
                continue
        return await self._transition()

    async def _transition(self) -> Turn:
        last = self._messages[-1]
        if last.role == "assistant" and not self._body.regenerates:
            chat = await self._operations.chat(self._chat_id)
            # After an error the list may end with an answer that has nothing yet.
            if answered_calls(last) or chat.status is not Status.ERROR:
                return await self._answer(chat, last)
        numbers = [n for n, message in enumerate(self._messages) if message.role == "user"]
        if not numbers:
            problem = FieldProblem(where="body.messages", message="must have a message of the user")
            raise invalid_request(problem)
        return await self._ask(numbers[-1])

    # -- messages of the user ---------------------------------------------------------------------

    async def _ask(self, number: int) -> Turn:
        message = self._messages[number]
        content = user_content(message, self._chat_id, where=f"body.messages.{number}")
        chat, stored = await self._read(message.id)
        is_last = False
        if chat is not None and chat.status is Status.ERROR and stored is not None:
            last = await self._operations.latest_turn(self._chat_id)
            is_last = last is not None and last.message_id == stored.id
        wanted = intent(
            content.parts,
            status=None if chat is None else chat.status,
            stored=stored,
            is_last=is_last,
            regenerates=self._body.regenerates,
        )
        if chat is None:
            return await self._create(number, content)
        if stored is None:
            return await self._send(chat, message, content)
        if isinstance(stored, QueuedMessage):
            if wanted is Intent.EDIT:
                raise ChatBusy("This message waits in the queue, and cannot be edited there.")
            return Turn(queued_id=stored.id, client_key=client_key_of(message.id))
        return await self._repeat(wanted, chat, stored, message, content)

    async def _read(self, message_id: str) -> tuple[Chat | None, Message | QueuedMessage | None]:
        """Return the chat, if there is one, and the message that the client means, if it is stored."""
        try:
            chat, stored = await self._reads.chat_and_message(
                self._chat_id, client_key_of(message_id), owner_id=self._owner_id
            )
        except ChatNotFound:
            return None, None
        return chat, await self._native(message_id) or stored

    async def _native(self, message_id: str) -> Message | None:
        """Return the message with an id of the API's own."""
        native = _NATIVE_ID.fullmatch(message_id)
        if native is None:
            return None
        number = int(native[1])
        page = await self._reads.messages_after(self._chat_id, number - 1, limit=1)
        found = next(iter(page.items), None)
        return found if found and found.id == number and found.role is Role.USER else None

    async def _create(self, number: int, content: SentContent) -> Turn:
        body = self._body
        given = body.system or system_prompt(self._messages)
        tools = body.given_tools or [Tool.model_validate(dict(tool)) for tool in self._config.tools]
        chat = NewChat(
            chat_id=new_chat_id(self._owner_id, body.id),
            content=content,
            client_key=self._messages[number].id,
            history=earlier_messages(self._messages[:number], self._chat_id),
            model=body.model,
            system_prompt=self._config.system_prompt_of(given),
            title=body.title,
            labels=body.labels,
            tools=tools,
        )
        return (await self._operations.create(chat))[1]

    async def _send(self, chat: Chat, message: UIMessage, content: SentContent) -> Turn:
        # The protocol has no way to answer the open calls of an answer that another message follows.
        asks = chat.status is Status.REQUIRES_ACTION
        return await self._operations.send(
            self._chat_id,
            content,
            client_key=message.id,
            model=self._body.model,
            busy_behavior=self._body.busy
            or (BusyBehavior.INTERRUPT if asks else BusyBehavior.QUEUE),
            tools=self._body.given_tools or None,
            key=send_key(self._owner_id, _DIALECT, self._chat_id, message.id, content.parts),
        )

    async def _repeat(
        self,
        wanted: Intent,
        chat: Chat,
        stored: Message,
        message: UIMessage,
        content: SentContent,
    ) -> Turn:
        """Do what a client wants that sends a message which is stored already."""
        owner_id, chat_id = self._owner_id, self._chat_id
        match wanted:
            case Intent.EDIT:
                key = edit_key(owner_id, _DIALECT, chat_id, stored.id, content.parts)
                return await self._operations.edit(
                    chat_id, stored.id, content, client_key=message.id, key=key
                )
            case Intent.RETRY:
                await self._operations.retry(chat_id)
            case Intent.REGENERATE if await self._is_answered(chat, stored):
                again = regenerate_key(owner_id, _DIALECT, chat_id, stored.id, chat.version)
                await self._operations.regenerate(chat_id, stored.id, key=again)
        return Turn(message_id=stored.id)

    async def _is_answered(self, chat: Chat, stored: Message) -> bool:
        """Return whether there is an answer to replace. A repeated request finds none that is new."""
        if chat.status in IDLE:
            return True
        page = await self._reads.messages_after(self._chat_id, stored.id, limit=1)
        return bool(page.items)

    # -- answers to calls -------------------------------------------------------------------------

    async def _answer(self, chat: Chat, last: UIMessage) -> Turn:
        """Answer the calls that the chat waits for, with what the client's last message has of them."""
        turn = await self._operations.latest_turn(self._chat_id)
        asked = None if turn is None else turn.message_id
        if turn is None or asked is None or _is_other_answer(last.id, asked):
            raise NoActionRequired("This is not the last answer of the chat.")
        steps = await self._steps(asked)
        self.first_step = _known_steps(last, steps)
        if chat.status is Status.REQUIRES_ACTION and self.first_step >= len(steps):
            await self._answer_calls(last)
        elif chat.status in IDLE and not 0 < self.first_step < len(steps):
            raise NoActionRequired("The chat waits for no answer.")
        return turn

    async def _answer_calls(self, last: UIMessage) -> None:
        calls = await self._operations.context.store.tool_calls.actions(
            self._chat_id, owner_id=self._owner_id
        )
        found, missing = answers(answered_calls(last), calls)
        if missing and _known_calls(last).isdisjoint(missing):
            # The turn went on since its steps were read: another tab was faster.
            raise NoActionRequired("The calls of this answer were answered meanwhile.")
        if missing:
            raise ToolResultsMissing(f"These calls have no answer: {', '.join(missing)}.")
        await self._operations.answer(self._chat_id, found)

    async def _steps(self, asked: int) -> list[set[str]]:
        """Return the calls of each stored step of the turn."""
        steps: list[set[str]] = []
        after_id, has_more = asked, True
        while has_more:
            page = await self._reads.messages_after(self._chat_id, after_id, limit=_PAGE)
            steps += [_calls(message) for message in page.items if _is_step(message)]
            has_more = page.has_more
            after_id = page.items[-1].id if page.items else after_id
        return steps


def _is_other_answer(given: str, asked: int) -> bool:
    """Return whether an id is that of the answer to another message."""
    return _ANSWER_ID.fullmatch(given) is not None and given != message_id(asked)


def _known_calls(last: UIMessage) -> set[str | None]:
    """Return the calls that a client has in its last message."""
    return {part.tool_call_id for part in last.parts if part.is_tool_call}


def _known_steps(last: UIMessage, steps: list[set[str]]) -> int:
    """Return the number of steps that a client has: up to the last one with a call that it knows."""
    calls = _known_calls(last)
    known = [number for number, step in enumerate(steps, 1) if not step.isdisjoint(calls)]
    return known[-1] if known else sum(part.type == "step-start" for part in last.parts)


def _is_step(message: Message) -> bool:
    return (
        message.role is Role.ASSISTANT
        and message.covers_until is None
        and all(part["type"] != COMPACTION_PART for part in message.content)
    )


def _calls(message: Message) -> set[str]:
    return {part["tool_call_id"] for part in message.content if part["type"] == "tool-call"}
