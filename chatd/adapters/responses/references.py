"""References to items that are stored here, as the items themselves."""

from collections.abc import Sequence

from chatd.adapters.responses.ids import ItemId
from chatd.adapters.responses.problems import Refusal, no_item
from chatd.adapters.responses.reading import ResponseReader
from chatd.adapters.responses.request import (
    FunctionCallInput,
    InputItem,
    MessageInput,
    PassedInput,
    ReferenceInput,
)
from chatd.adapters.step_reader import shown
from chatd.domain.message import Content, Role, text_of


async def resolve_references(
    items: Sequence[InputItem], reader: ResponseReader
) -> Sequence[InputItem]:
    """Return items without references. Raises ``Refusal`` if there is no such item."""
    return [
        await _resolve(item.id, reader) if isinstance(item, ReferenceInput) else item
        for item in items
    ]


async def _resolve(item_id: str, reader: ResponseReader) -> InputItem:
    place = ItemId.parse(item_id)
    if place is None:
        raise no_item(item_id)
    if place.kind == "rs":  # no provider takes it back
        return PassedInput(type="reasoning")
    content = await _content(place, reader)
    parts = shown(content) if content is not None else []
    if content is not None and place.step == 0 and place.kind == "msg":
        return MessageInput(role="user", content=text_of(content))
    if place.index < len(parts):
        part = parts[place.index]
        if part["type"] == "text":
            return MessageInput(role="assistant", content=part["text"])
        if part["type"] == "tool-call":
            return FunctionCallInput(
                type="function_call",
                call_id=part["tool_call_id"],
                name=part["tool_name"],
                arguments=part.get("args") or "",
            )
    raise no_item(item_id)


async def _content(place: ItemId, reader: ResponseReader) -> Content | None:
    """Return the content of the message that an item is of. None: there is none."""
    try:
        response = await reader.find(place.response)
    except Refusal:
        return None
    if place.step == 0:
        return response.asked.content
    if response.turn.message_id is None:
        return None
    messages, _ = await reader.turn_messages(place.response.chat_id, response.turn.message_id)
    answers = [message for message in messages if message.role is Role.ASSISTANT]
    return answers[place.step - 1].content if place.step <= len(answers) else None
