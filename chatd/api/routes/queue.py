"""Routes of a chat's queue."""

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from chatd.api.context import Context
from chatd.api.errors.problems import problem_responses
from chatd.api.request.caller import Caller
from chatd.api.request.idempotency import IdempotencyKeyHeader
from chatd.api.request.pagination import Limit
from chatd.api.request.query import RejectUnknownParameters
from chatd.api.schema.resources import Chat, MessageId, Page, QueuedMessage
from chatd.api.schema.types import MAX_BIGINT

router = APIRouter(prefix="/api/v1/chats/{chat_id}/queue", tags=["queue"])


@router.get(
    "",
    summary="List queued messages",
    dependencies=[RejectUnknownParameters],
    responses=problem_responses("chat_not_found"),
)
async def list_queue(
    chat_id: UUID,
    caller: Caller,
    context: Context,
    after_id: Annotated[
        int, Query(ge=0, le=MAX_BIGINT, description="Only messages that come after this one.")
    ] = 0,
    limit: Limit = 100,
) -> Page[QueuedMessage]:
    """Return the messages queued until the running turn ends, the next one first.

    A page ends at the limit, or after about 1 MiB.
    """
    await context.store.reads.chat(chat_id, owner_id=caller.owner_filter)
    page = await context.store.reads.queue(chat_id, after_id, limit=limit)
    await context.ensure_model_names(*(message.model_config_id for message in page.items))
    return Page(
        items=[context.present.queued_message(message) for message in page.items],
        next_cursor=str(page.items[-1].id) if page.has_more else None,
    )


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
