"""Routes of a chat's queue."""

from http import HTTPStatus
from uuid import UUID

from fastapi import APIRouter

from chatd.api.context import Context
from chatd.api.errors.problems import problem_responses
from chatd.api.request.caller import Caller
from chatd.api.request.idempotency import IdempotencyKeyHeader
from chatd.api.schema.resources import Chat, MessageId, Page, QueuedMessage

router = APIRouter(prefix="/api/v1/chats/{chat_id}/queue", tags=["queue"])


@router.get("", summary="List queued messages", responses=problem_responses("chat_not_found"))
async def list_queue(chat_id: UUID, caller: Caller, context: Context) -> Page[QueuedMessage]:
    """Return the messages queued until the running turn ends, the next one first."""
    await context.store.reads.chat(chat_id, owner_id=caller.owner_filter)
    queued = await context.store.reads.queue(chat_id)
    await context.ensure_model_names(*(message.model_config_id for message in queued))
    return Page(items=[context.present.queued_message(message) for message in queued])


@router.delete(
    "/{queued_id}",
    status_code=HTTPStatus.NO_CONTENT,
    responses=problem_responses("chat_not_found", "queued_message_not_found"),
)
async def delete_queued_message(
    chat_id: UUID, queued_id: MessageId, caller: Caller, context: Context
) -> None:
    """Remove a queued message."""
    await context.store.queue.remove(
        chat_id, queued_id, owner_id=caller.owner_id, actor=caller.actor
    )


@router.post(
    "/{queued_id}/promote",
    responses=problem_responses(
        "chat_not_found",
        "queued_message_not_found",
        "chat_archived",
        "status_unknown",
        "too_many_active_chats",
    ),
)
async def promote_queued_message(
    chat_id: UUID, queued_id: MessageId, caller: Caller, context: Context, key: IdempotencyKeyHeader
) -> Chat:
    """Move a queued message to the front. A running turn stops for it and keeps its answer so far."""
    result = await context.store.queue.promote(
        chat_id, queued_id, owner_id=caller.owner_id, actor=caller.actor, key=key
    )
    return await context.present_chat(result.chat)
