"""Routes of messages and of the queue."""

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from chatd.api.auth import Caller
from chatd.api.chats import Limit
from chatd.api.desk import AtDesk
from chatd.api.problems import BadRequest, documented
from chatd.api.schemas import (
    LARGEST,
    MessageOut,
    Page,
    QueuedMessageOut,
    SendMessage,
    Sent,
    parts_of,
)

router = APIRouter(prefix="/api/v1", tags=["messages"])

MessageId = Annotated[int | None, Query(ge=0, le=LARGEST, description="A message's id.")]


@router.get(
    "/chats/{chat_id}/messages",
    responses=documented("chat_not_found", "conflicting_parameters"),
)
async def list_messages(
    chat_id: UUID,
    caller: Caller,
    desk: AtDesk,
    after_id: MessageId = None,
    before_id: MessageId = None,
    limit: Limit = 100,
) -> Page[MessageOut]:
    """The history, oldest first: from the start, after a message, or the latest ones before one."""
    if after_id is not None and before_id is not None:
        raise BadRequest(
            "conflicting_parameters",
            "after_id, before_id: give one of the two.",
            HTTPStatus.UNPROCESSABLE_ENTITY,
        )
    await desk.reads.chat(chat_id, owner_id=caller.sees)
    if before_id is not None:
        found = await desk.reads.messages_before(chat_id, before_id, limit + 1)
        more, items = len(found) > limit, found[-limit:]
        edge = items[0].id if items else None
    else:
        found = await desk.reads.messages_after(chat_id, after_id or 0, limit + 1)
        more, items = len(found) > limit, found[:limit]
        edge = items[-1].id if items else None
    await desk.know(*(message.model_config_id for message in items))
    return Page(
        items=[desk.names.message(message) for message in items],
        next_cursor=str(edge) if more else None,
    )


@router.post(
    "/chats/{chat_id}/messages",
    status_code=HTTPStatus.ACCEPTED,
    responses=documented(
        "chat_not_found", "chat_archived", "chat_busy", "model_not_found", "queue_full"
    ),
)
async def send_message(chat_id: UUID, body: SendMessage, caller: Caller, desk: AtDesk) -> Sent:
    """Say something. A chat at rest answers; a busy one does as `busy_behavior` says."""
    moved = await desk.chats.send(
        chat_id,
        owner_id=caller.sees,
        content=parts_of(body.content),
        model_config_id=desk.model_id(body.model),
        busy=body.busy_behavior,
    )
    desk.hints.moved(moved.entry)
    await desk.know(moved.chat.last_model_config_id)
    stored = moved.entry.messages if moved.entry else ()
    return Sent(
        queued=moved.queued is not None,
        message=desk.names.message(stored[-1]) if stored and moved.queued is None else None,
        queued_message=desk.names.queued_message(moved.queued) if moved.queued else None,
        chat=desk.names.chat(moved.chat),
    )


@router.get("/chats/{chat_id}/queue", responses=documented("chat_not_found"))
async def list_queue(chat_id: UUID, caller: Caller, desk: AtDesk) -> Page[QueuedMessageOut]:
    """The messages that wait for the running turn to end, the next one first."""
    await desk.reads.chat(chat_id, owner_id=caller.sees)
    found = await desk.reads.queue(chat_id)
    await desk.know(*(message.model_config_id for message in found))
    return Page(items=[desk.names.queued_message(message) for message in found])
