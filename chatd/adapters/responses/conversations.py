"""Routes of conversations and their items."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Query

from chatd.adapters.config import Config
from chatd.adapters.openai_errors import NOT_SUPPORTED
from chatd.adapters.operations import NewChat, Operations
from chatd.adapters.responses.conversation_items import ConversationItems
from chatd.adapters.responses.ids import conversation_chat, conversation_id
from chatd.adapters.responses.input_items import read_history, refused
from chatd.adapters.responses.listing import ItemPage, Limit, Order, item_page
from chatd.adapters.responses.output import Item
from chatd.adapters.responses.problems import (
    Refusal,
    ResponsesRoute,
    no_conversation,
)
from chatd.adapters.responses.reading import ResponseReader
from chatd.adapters.responses.references import resolve_references
from chatd.adapters.responses.request import (
    MAX_ID_LENGTH,
    AddItems,
    CreateConversation,
    InputItems,
    UnknownInput,
    UpdateConversation,
)
from chatd.api.request.idempotency import IdempotencyKeyHeader
from chatd.domain.chat import Chat
from chatd.domain.errors import ChatNotFound
from chatd.domain.given_history import find_history_fault

router = APIRouter(prefix="/v1/conversations", include_in_schema=False, route_class=ResponsesRoute)

_After = Annotated[str | None, Query(max_length=MAX_ID_LENGTH)]


@router.post("")
async def create_conversation(
    body: CreateConversation, operations: Operations, config: Config, key: IdempotencyKeyHeader
) -> dict[str, Any]:
    """Make a conversation, with the items that are given."""
    prompt, history = read_history(await _resolved(body.items or [], operations, "items"))
    chat_id, _ = await operations.create(
        NewChat(
            history=history,
            system_prompt=config.system_prompt_of(prompt),
            labels=body.metadata or {},
        ),
        key=key,
    )
    return _resource(await _chat(conversation_id(chat_id), operations))


@router.get("/{name}")
async def get_conversation(name: str, operations: Operations) -> dict[str, Any]:
    """Return a conversation."""
    return _resource(await _chat(name, operations))


@router.post("/{name}")
async def update_conversation(
    name: str, body: UpdateConversation, operations: Operations, key: IdempotencyKeyHeader
) -> dict[str, Any]:
    """Replace the metadata of a conversation."""
    chat = await _chat(name, operations)
    if body.metadata is not None:
        context, caller = operations.context, operations.caller
        labels = context.limits.check_labels(body.metadata)
        result = await context.store.chats.describe(
            chat.id, owner_id=caller.owner_id, actor=caller.actor, labels=labels, key=key
        )
        chat = result.chat
    return _resource(chat)


@router.delete("/{name}")
async def delete_conversation(name: str, operations: Operations) -> dict[str, Any]:
    """Delete a conversation, with all its responses."""
    chat = await _chat(name, operations)
    await operations.delete(chat.id)
    return {"id": name, "object": "conversation.deleted", "deleted": True}


@router.get("/{name}/items")
async def list_items(
    name: str,
    operations: Operations,
    after: _After = None,
    limit: Limit = 20,
    order: Order = "desc",
) -> ItemPage:
    """Return a page of the items of a conversation."""
    chat = await _chat(name, operations)
    items = await ConversationItems(operations, chat.id).page(
        after=after, limit=limit, newest_first=order == "desc"
    )
    return item_page(items[:limit], has_more=len(items) > limit)


@router.post("/{name}/items")
async def add_items(
    name: str, body: AddItems, operations: Operations, key: IdempotencyKeyHeader
) -> ItemPage:
    """Add items to an idle conversation. None is answered."""
    chat = await _chat(name, operations)
    prompt, messages = read_history(await _resolved(body.items, operations, "items"))
    if prompt is not None:
        raise refused(
            "items.0.role", "must not be system or developer in a conversation that is there"
        )
    if (fault := find_history_fault(messages)) is not None:
        raise refused("items", fault)
    if not messages:
        return item_page([], has_more=False)
    caller = operations.caller
    result = await operations.context.store.messages.append(
        chat.id, owner_id=caller.owner_id, actor=caller.actor, messages=messages, key=key
    )
    items = await ConversationItems(operations, chat.id).of_messages(result.messages)
    return item_page(items, has_more=False)


@router.get("/{name}/items/{item_id}")
async def get_item(name: str, item_id: str, operations: Operations) -> Item:
    """Return an item of a conversation."""
    chat = await _chat(name, operations)
    return await ConversationItems(operations, chat.id).item(item_id)


@router.delete("/{name}/items/{item_id}")
async def delete_item(name: str, item_id: str, operations: Operations) -> None:
    """Refuse to take an item out: what was answered stays in the history."""
    chat = await _chat(name, operations)
    await ConversationItems(operations, chat.id).item(item_id)
    message = (
        "Items cannot be taken out of a conversation. Fork it with previous_response_id instead."
    )
    raise Refusal(HTTPStatus.CONFLICT, message)


async def _resolved(items: InputItems, operations: Operations, where: str) -> InputItems:
    for number, item in enumerate(items):
        if isinstance(item, UnknownInput):
            raise refused(f"{where}.{number}.type", NOT_SUPPORTED)
    reader = ResponseReader(operations.context, operations.caller.owner_id)
    return list(await resolve_references(items, reader))


async def _chat(name: str, operations: Operations) -> Chat:
    chat_id = conversation_chat(name)
    if chat_id is None:
        raise no_conversation(name[:MAX_ID_LENGTH])
    try:
        return await operations.context.store.reads.chat(
            chat_id, owner_id=operations.caller.owner_id
        )
    except ChatNotFound:
        raise no_conversation(name) from None


def _resource(chat: Chat) -> dict[str, Any]:
    return {
        "id": conversation_id(chat.id),
        "object": "conversation",
        "created_at": int(chat.created_at.timestamp()),
        "metadata": dict(chat.labels),
    }
