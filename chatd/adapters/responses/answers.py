"""Outputs of function calls, and answers to approvals, for a chat that waits for them."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from chatd.adapters.operations import ChatOperations
from chatd.adapters.responses.ids import ItemId, ResponseId
from chatd.adapters.responses.input_items import RequestInput
from chatd.adapters.responses.problems import no_approval, no_call, no_output
from chatd.adapters.responses.reading import ResponseReader, StoredResponse
from chatd.adapters.step_reader import shown
from chatd.adapters.turn_item_reader import Turn
from chatd.api.schema.types import MAX_BIGINT
from chatd.domain.answer import Answer, Approval
from chatd.domain.chat import Chat, Status
from chatd.domain.message import Message, Role
from chatd.domain.question import QuestionKind

_RECENT_MESSAGES: Final = 100
"""Messages in which the calls are looked for that are answered."""


@dataclass(frozen=True, slots=True)
class PreparedAnswers:
    """Answers to give with ``begin``, and the response that they lead to."""

    response: StoredResponse
    begin: Callable[[], Awaitable[Turn]]


class ChatAnswers:
    """Answers of one caller to the calls of chats."""

    def __init__(self, operations: ChatOperations, reader: ResponseReader) -> None:
        self._operations = operations
        self._reader = reader

    async def prepare(self, chat: Chat, given: RequestInput) -> PreparedAnswers:
        """Find the calls that are answered. Raises ``Refusal`` if some are left out.

        Calls that have their results already are answered as before: by what followed on them.
        """
        message, approvals = await self._find_calls(chat.id, given)
        response = await self._reader.find(ResponseId(chat.id, message.id))
        asked: Sequence[Mapping[str, Any]] = ()
        if chat.status is Status.REQUIRES_ACTION:
            asked = await self._operations.context.store.tool_calls.actions(
                chat.id, owner_id=chat.owner_id
            )
        answers: list[Answer] = [*given.results, *approvals]
        answered = {answer.tool_call_id for answer in answers}
        if not any(call["tool_call_id"] in answered for call in asked):
            return PreparedAnswers(response, _attach_to(response))
        for call in asked:
            if call["tool_call_id"] not in answered:
                is_result = call["kind"] == QuestionKind.RESULT
                raise (no_output if is_result else no_approval)(call["tool_call_id"])

        async def answer() -> Turn:
            if approvals:
                await self._operations.answer(chat.id, answers)
            else:
                await self._operations.submit(chat.id, given.results)
            return response.turn

        return PreparedAnswers(response, answer)

    async def _find_calls(
        self, chat_id: UUID, given: RequestInput
    ) -> tuple[Message, Sequence[Approval]]:
        """Return the message with the calls that are answered, and the approvals among the answers."""
        recent = await self._operations.context.store.reads.messages_before(
            chat_id, MAX_BIGINT, limit=_RECENT_MESSAGES
        )
        results = {result.tool_call_id for result in given.results}
        places = [ItemId.parse(approval.approval_request_id) for approval in given.approvals]
        for message in reversed(recent.items):
            if message.role is not Role.ASSISTANT:
                continue
            parts = shown(message.content)
            calls = {part["tool_call_id"] for part in parts if part["type"] == "tool-call"}
            approvals = [
                Approval(
                    tool_call_id=parts[place.index]["tool_call_id"],
                    allowed=approval.approve,
                    reason=approval.reason or None,
                )
                for approval, place in zip(given.approvals, places, strict=True)
                if place is not None
                and place.response.chat_id == chat_id
                and place.index < len(parts)
                and parts[place.index]["type"] == "tool-call"
            ]
            if results & calls or (approvals and not results):
                return message, approvals
        raise no_call(given)


def _attach_to(response: StoredResponse) -> Callable[[], Awaitable[Turn]]:
    async def attach() -> Turn:
        return response.turn

    return attach
