"""A request for a response as one transition of one chat."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, Final
from uuid import UUID

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from chatd.adapters.config import AdapterConfig
from chatd.adapters.openai_errors import NOT_SUPPORTED
from chatd.adapters.operations import ChatOperations, NewChat
from chatd.adapters.responses.answers import ChatAnswers
from chatd.adapters.responses.ids import (
    ResponseId,
    chat_of_response,
    conversation_chat,
    new_turn,
)
from chatd.adapters.responses.input_items import RequestInput, read_input, refused
from chatd.adapters.responses.problems import (
    Refusal,
    no_call,
    no_conversation,
    no_previous_response,
)
from chatd.adapters.responses.reading import ResponseReader, StoredResponse
from chatd.adapters.responses.references import resolve_references
from chatd.adapters.responses.request import CreateResponse, FunctionTool, find_unsupported
from chatd.adapters.turn_item_reader import Turn
from chatd.api.schema.content import SentContent
from chatd.api.schema.tools import Tool
from chatd.api.schema.types import MAX_BIGINT
from chatd.domain.chat import BusyBehavior, Status
from chatd.domain.errors import ChatExists, ChatNotFound
from chatd.domain.given_history import find_history_fault
from chatd.domain.message import NewMessage, Role, text_of, with_client_key
from chatd.store.idempotency import IdempotencyKey

_PARAGRAPH: Final = "\n\n"
_EMPTY_SCHEMA: Final[Mapping[str, Any]] = {"type": "object", "properties": {}}
_RECENT_MESSAGES: Final = 50
"""Messages in which the last instructions are looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BegunResponse:
    """A response to begin: ``begin`` makes the transition, and may be repeated."""

    id: ResponseId
    turn_id: ResponseId
    begin: Callable[[], Awaitable[Turn]]
    first_step: int = 0
    version: int = 0
    """The version of the chat before."""
    stops_with_client: bool = False
    """True if nobody can come back to it."""
    tools: Sequence[Mapping[str, Any]] = field(default=())


class Creation:
    """The beginning of one response, for one caller."""

    def __init__(
        self,
        body: CreateResponse,
        operations: ChatOperations,
        config: AdapterConfig,
        key: IdempotencyKey | None,
    ) -> None:
        self._body = body
        self._operations = operations
        self._config = config
        self._key = key
        self._owner_id = operations.caller.owner_id
        self._reader = ResponseReader(operations.context, self._owner_id)
        self._answers = ChatAnswers(operations, self._reader)
        self._turn = new_turn(None if key is None else f"{self._owner_id}\0{key.key}")
        self._tools: list[Tool] | None = None

    async def prepare(self) -> BegunResponse:
        """Find what is to be done. Nothing is changed, but that a chat may be forked."""
        body = self._body
        if (field_name := find_unsupported(body)) is not None:
            raise refused(field_name, NOT_SUPPORTED)
        if body.tools is not None:
            self._tools = [_tool(*each) for each in enumerate(body.tools)]
        if body.conversation_id is not None and body.previous_response_id is not None:
            raise refused("previous_response_id", "excludes conversation: give only one of the two")
        given = read_input(
            body.input
            if isinstance(body.input, str)
            else await resolve_references(body.input, self._reader)
        )
        if body.previous_response_id is not None:
            return await self._follow(body.previous_response_id, given)
        if body.conversation_id is not None:
            return await self._continue(await self._conversation(body.conversation_id), given)
        return self._create(given)

    async def _conversation(self, conversation_id: str) -> UUID:
        chat_id = conversation_chat(conversation_id)
        if chat_id is None:
            raise no_conversation(conversation_id)
        try:
            await self._operations.context.store.reads.chat(chat_id, owner_id=self._owner_id)
        except ChatNotFound:
            raise no_conversation(conversation_id) from None
        return chat_id

    async def _follow(self, response_id: str, given: RequestInput) -> BegunResponse:
        parsed = ResponseId.parse(response_id)
        if parsed is None:
            raise no_previous_response(response_id)
        try:
            previous = await self._reader.find(parsed)
        except Refusal:
            raise no_previous_response(response_id) from None
        if given.answers_calls or await self._is_latest(previous):
            return await self._continue(parsed.chat_id, given)
        return await self._continue(await self._fork(previous), given)

    async def _is_latest(self, response: StoredResponse) -> bool:
        reads, chat_id = self._operations.context.store.reads, response.id.chat_id
        queue = await reads.queue(chat_id, response.turn.queued_id or 0, limit=1)
        if queue.items:
            return False
        if response.turn.message_id is None:
            return True
        _, following = await self._reader.turn_messages(chat_id, response.turn.message_id)
        return following is None

    async def _fork(self, response: StoredResponse) -> UUID:
        read = await self._reader.read(response)
        key = self._key and replace(self._key, key=f"fork:{self._key.key}"[:255])
        result = await self._operations.context.store.chats.fork(
            response.id.chat_id,
            owner_id=self._owner_id,
            actor=self._operations.caller.actor,
            from_message_id=read.last_message_id,
            key=key,
        )
        return result.chat.id

    def _create(self, given: RequestInput) -> BegunResponse:
        if given.answers_calls:
            raise no_call(given)
        response = ResponseId(chat_of_response(self._owner_id, self._turn), self._turn)
        self._check_content(given, or_results=given.ends_in_results)
        keeps_chat = self._body.store is not False
        prompts = (self._body.instructions, given.system_prompt)
        history, steps = given.history, 0
        if given.ends_in_results:
            history, steps = _with_key(given.history, response.key or "")
        tools = self._tools or []
        chat = NewChat(
            chat_id=response.chat_id,
            content=given.content,
            client_key=response.key,
            history=history,
            answers_history=given.ends_in_results,
            model=self._body.model,
            system_prompt=self._config.system_prompt_of(
                _PARAGRAPH.join(filter(None, prompts)) or None
            ),
            labels=self._body.metadata or {},
            tools=tools,
            expires_in_seconds=None if keeps_chat else self._config.expires_in_seconds,
        )

        async def create() -> Turn:
            try:
                return (await self._operations.create(chat, key=self._key))[1]
            except ChatExists:
                return (await self._reader.find(response)).turn

        return BegunResponse(
            id=response,
            turn_id=response,
            begin=create,
            first_step=steps,
            stops_with_client=not keeps_chat,
            tools=[tool.model_dump() for tool in tools],
        )

    async def _continue(self, chat_id: UUID, given: RequestInput) -> BegunResponse:
        context = self._operations.context
        chat = await context.store.reads.chat(chat_id, owner_id=self._owner_id)
        answers = None
        if given.answers_calls:
            answers = await self._answers.prepare(chat, given)
            if given.content is None:
                return BegunResponse(
                    id=answers.response.id,
                    turn_id=answers.response.turn_id,
                    begin=answers.begin,
                    first_step=answers.response.first_step,
                    version=chat.version,
                )
        response = ResponseId(chat_id, self._turn)
        content = self._check_content(given)
        earlier = [*given.history]
        if (fault := find_history_fault(earlier)) is not None:
            raise refused("input", fault)
        instructions = await self._new_instructions(chat_id, given)
        if instructions:
            part = {"type": "text", "text": instructions}
            earlier.insert(0, NewMessage(role=Role.SYSTEM, content=(part,)))
        asks = chat.status is Status.REQUIRES_ACTION and answers is None

        async def send() -> Turn:
            if answers is not None:
                await answers.begin()
            return await self._operations.send(
                chat_id,
                content,
                client_key=response.key,
                model=self._body.model,
                busy_behavior=BusyBehavior.INTERRUPT if asks else BusyBehavior.QUEUE,
                earlier=earlier,
                tools=self._tools,
                key=self._key,
            )

        tools = [tool.model_dump() for tool in self._tools or ()]
        return BegunResponse(
            id=response, turn_id=response, begin=send, version=chat.version, tools=tools
        )

    async def _new_instructions(self, chat_id: UUID, given: RequestInput) -> str | None:
        """Return instructions that differ from the last ones of the chat. None: they do not."""
        prompts = filter(None, (self._body.instructions, given.system_prompt))
        instructions = _PARAGRAPH.join(prompts)
        if not instructions or not self._config.trust_system:
            return None
        reads = self._operations.context.store.reads
        recent = await reads.messages_before(chat_id, MAX_BIGINT, limit=_RECENT_MESSAGES)
        messages = list(recent.items)
        if recent.has_more and not any(each.role is Role.SYSTEM for each in messages):
            messages = list((await reads.messages_after(chat_id, 0, limit=1)).items)
        known = [text_of(each.content) for each in messages if each.role is Role.SYSTEM]
        return None if known and known[-1] == instructions else instructions

    def _check_content(self, given: RequestInput, *, or_results: bool = False) -> SentContent:
        content = given.content
        if content is not None and any(_says_something(part) for part in content.parts):
            return content
        if content is None and or_results:
            return SentContent(())
        raise Refusal(
            HTTPStatus.BAD_REQUEST,
            "The input must end with a message of the user that holds a file, or text that is not white "
            "space alone, or with the outputs of function calls.",
            param="input",
        )


def _says_something(part: Mapping[str, Any]) -> bool:
    return part["type"] != "text" or bool(part["text"].strip())


def _tool(number: int, tool: FunctionTool) -> Tool:
    """Return a tool of the client. Raises ``RequestValidationError``."""
    try:
        return Tool(
            name=tool.name,
            description=tool.description or "",
            parameters=tool.parameters or dict(_EMPTY_SCHEMA),
        )
    except ValidationError as error:
        mistakes = error.errors(include_url=False)
        named = [{**each, "loc": ("body", "tools", number, *each["loc"])} for each in mistakes]
        raise RequestValidationError(named) from None


def _with_key(history: Sequence[NewMessage], key: str) -> tuple[list[NewMessage], int]:
    """Return a history whose last message of the user has a key, and the steps that follow on it."""
    messages = list(history)
    steps = 0
    for place in range(len(messages) - 1, -1, -1):
        message = messages[place]
        if message.role is Role.USER:
            messages[place] = replace(message, content=with_client_key(message.content, key))
            return messages, steps
        steps += message.role is Role.ASSISTANT
    raise refused("input", "has outputs of function calls, and no message of the user before them")
