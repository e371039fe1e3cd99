"""Routes of messages."""

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from chatd.api.context import Context
from chatd.api.errors.problems import HttpProblem, problem_responses
from chatd.api.request.caller import Caller
from chatd.api.request.idempotency import IdempotencyKeyHeader
from chatd.api.request.pagination import Limit
from chatd.api.request.query import RejectUnknownParameters
from chatd.api.schema.content import sent_content
from chatd.api.schema.requests import AppendMessages, EditMessage, SendMessage
from chatd.api.schema.resources import (
    AppendMessagesResult,
    Chat,
    Message,
    MessageId,
    Page,
    SendMessageResult,
)
from chatd.api.schema.types import MAX_BIGINT

router = APIRouter(prefix="/api/v1", tags=["messages"])

MessageIdParameter = Annotated[
    int | None,
    Query(ge=0, le=MAX_BIGINT, description="The id of a message. Give `after_id` or `before_id`."),
]


@router.get(
    "/chats/{chat_id}/messages",
    dependencies=[RejectUnknownParameters],
    responses=problem_responses("chat_not_found", "conflicting_parameters"),
)
async def list_messages(
    chat_id: UUID,
    caller: Caller,
    context: Context,
    after_id: MessageIdParameter = None,
    before_id: MessageIdParameter = None,
    limit: Limit = 100,
) -> Page[Message]:
    """Return messages of a chat, oldest first. From the start, after one, or the latest before one.

    A page ends at the limit, or after about 1 MiB: go by `next_cursor`, not by the number of messages.
    """
    if after_id is not None and before_id is not None:
        raise HttpProblem(
            "conflicting_parameters",
            "after_id, before_id: give only one of the two.",
        )
    await context.store.reads.chat(chat_id, owner_id=caller.owner_filter)
    if before_id is not None:
        page = await context.store.reads.messages_before(chat_id, before_id, limit=limit)
    else:
        page = await context.store.reads.messages_after(chat_id, after_id or 0, limit=limit)
    await context.ensure_model_names(*(message.model_config_id for message in page.items))
    last = page.items[-1 if before_id is None else 0] if page.has_more else None
    return Page(
        items=[context.present.message(message) for message in page.items],
        next_cursor=str(last.id) if last else None,
    )


@router.post(
    "/chats/{chat_id}/messages",
    status_code=HTTPStatus.ACCEPTED,
    responses=problem_responses(
        "chat_not_found",
        "chat_archived",
        "chat_busy",
        "chat_full",
        "file_not_found",
        "model_not_found",
        "queue_full",
        "storage_full",
        "too_many_active_chats",
        "too_many_parts",
        "too_many_tools",
        "unsupported_file",
    ),
)
async def send_message(
    chat_id: UUID, body: SendMessage, caller: Caller, context: Context, key: IdempotencyKeyHeader
) -> SendMessageResult:
    """Send a message. An idle chat answers it. A busy one follows `busy_behavior`."""
    model_id = context.model_id(body.model)
    content = await context.check_content(
        sent_content(body.content),
        model_id=model_id,
        chat_id=chat_id,
        owner_id=caller.owner_id,
    )
    result = await context.store.chats.send(
        chat_id,
        owner_id=caller.owner_id,
        actor=caller.actor,
        content=content.parts,
        files=content.files,
        tools=None
        if body.tools is None
        else [tool.model_dump() for tool in context.limits.check_tools(body.tools)],
        model_config_id=model_id,
        busy_behavior=body.busy_behavior,
        key=key,
    )
    chat = await context.present_chat(result.chat)
    if result.queued_message is not None:
        queued_message = context.present.queued_message(result.queued_message)
        return SendMessageResult(
            queued=True, message=None, queued_message=queued_message, chat=chat
        )
    message = context.present.message(result.messages[-1]) if result.messages else None
    return SendMessageResult(queued=False, message=message, queued_message=None, chat=chat)


@router.post(
    "/chats/{chat_id}/append",
    status_code=HTTPStatus.CREATED,
    responses=problem_responses(
        "chat_not_found",
        "chat_archived",
        "chat_busy",
        "chat_full",
        "file_not_found",
        "storage_full",
        "too_many_parts",
        "unsupported_file",
    ),
)
async def append_messages(
    chat_id: UUID, body: AppendMessages, caller: Caller, context: Context, key: IdempotencyKeyHeader
) -> AppendMessagesResult:
    """Store messages of any role at the end of the history. None is answered. The chat must be idle.

    The next message is answered with them. A chat in `error` stays in it, and its turn can be tried again.
    """
    result = await context.store.messages.append(
        chat_id,
        owner_id=caller.owner_id,
        actor=caller.actor,
        messages=await context.check_messages(
            body.messages, chat_id=chat_id, owner_id=caller.owner_id
        ),
        key=key,
    )
    return AppendMessagesResult(
        messages=[context.present.message(message) for message in result.messages],
        chat=await context.present_chat(result.chat),
    )


@router.patch(
    "/chats/{chat_id}/messages/{message_id}",
    responses=problem_responses(
        "chat_not_found",
        "message_not_found",
        "not_a_user_message",
        "chat_archived",
        "status_unknown",
        "chat_full",
        "file_not_found",
        "storage_full",
        "too_many_active_chats",
        "too_many_parts",
        "unsupported_file",
    ),
)
async def edit_message(
    chat_id: UUID,
    message_id: MessageId,
    body: EditMessage,
    caller: Caller,
    context: Context,
    key: IdempotencyKeyHeader,
) -> Message:
    """Edit a message of the user, and have it answered again.

    The message gets a new id. The old one and everything after it are dropped, the queue included. A
    running turn ends, and nothing more of it is stored.
    """
    content = await context.check_content(
        sent_content(body.content), model_id=None, chat_id=chat_id, owner_id=caller.owner_id
    )
    result = await context.store.messages.edit(
        chat_id,
        message_id,
        owner_id=caller.owner_id,
        actor=caller.actor,
        content=content.parts,
        files=content.files,
        key=key,
    )
    message = result.messages[-1]
    await context.ensure_model_names(message.model_config_id)
    return context.present.message(message)


@router.post(
    "/chats/{chat_id}/messages/{message_id}/regenerate",
    responses=problem_responses(
        "chat_not_found",
        "message_not_found",
        "chat_archived",
        "status_unknown",
        "too_many_active_chats",
    ),
)
async def regenerate_message(
    chat_id: UUID,
    message_id: MessageId,
    caller: Caller,
    context: Context,
    key: IdempotencyKeyHeader,
) -> Chat:
    """Have the user's message that led to this one answered again. It may be that message itself.

    Everything after the user's message is dropped, the queue included. A running turn ends, and nothing
    more of it is stored.
    """
    result = await context.store.messages.regenerate(
        chat_id, message_id, owner_id=caller.owner_id, actor=caller.actor, key=key
    )
    return await context.present_chat(result.chat)
