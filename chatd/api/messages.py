"""Routes of messages."""

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from chatd.api.auth import Caller
from chatd.api.desk import AtDesk
from chatd.api.keys import Keyed
from chatd.api.pages import Limit
from chatd.api.problems import BadRequest, documented
from chatd.api.query import OnlyKnown
from chatd.api.schemas import (
    LARGEST,
    EditMessage,
    MessageId,
    MessageOut,
    Page,
    SendMessage,
    Sent,
)

router = APIRouter(prefix="/api/v1", tags=["messages"])

Edge = Annotated[
    int | None,
    Query(ge=0, le=LARGEST, description="The id of a message. Give `after_id` or `before_id`."),
]


@router.get(
    "/chats/{chat_id}/messages",
    dependencies=[OnlyKnown],
    responses=documented("chat_not_found", "conflicting_parameters"),
)
async def list_messages(
    chat_id: UUID,
    caller: Caller,
    desk: AtDesk,
    after_id: Edge = None,
    before_id: Edge = None,
    limit: Limit = 100,
) -> Page[MessageOut]:
    """The history, oldest first: from the start, after a message, or the latest ones before one."""
    if after_id is not None and before_id is not None:
        raise BadRequest(
            "conflicting_parameters",
            "after_id, before_id: give only one of the two.",
            HTTPStatus.UNPROCESSABLE_ENTITY,
        )
    await desk.reads.chat(chat_id, owner_id=caller.sees)
    if before_id is not None:
        found = await desk.reads.messages_before(chat_id, before_id, limit=limit + 1)
        more, items = len(found) > limit, found[-limit:]
        edge = items[0].id if items else None
    else:
        found = await desk.reads.messages_after(chat_id, after_id or 0, limit=limit + 1)
        more, items = len(found) > limit, found[:limit]
        edge = items[-1].id if items else None
    await desk.know(*(message.model_config_id for message in items))
    return Page(
        items=[desk.dress.message(message) for message in items],
        next_cursor=str(edge) if more else None,
    )


@router.post(
    "/chats/{chat_id}/messages",
    status_code=HTTPStatus.ACCEPTED,
    responses=documented(
        "chat_not_found",
        "chat_archived",
        "chat_busy",
        "model_not_found",
        "queue_full",
        "too_many_chats",
        "too_many_parts",
    ),
)
async def send_message(
    chat_id: UUID, body: SendMessage, caller: Caller, desk: AtDesk, key: Keyed
) -> Sent:
    """Send a message. A chat at rest answers; a busy one does as `busy_behavior` says."""
    moved = await desk.chats.send(
        chat_id,
        owner_id=caller.sees,
        content=desk.limits.content(body.content),
        model_config_id=desk.model_id(body.model),
        busy_behavior=body.busy_behavior,
        key=key,
    )
    chat = await desk.moved(moved)
    stored = moved.entry.messages if moved.entry else ()
    return Sent(
        queued=moved.queued_message is not None,
        message=desk.dress.message(stored[-1]) if stored and moved.queued_message is None else None,
        queued_message=desk.dress.queued_message(moved.queued_message)
        if moved.queued_message
        else None,
        chat=chat,
    )


@router.patch(
    "/chats/{chat_id}/messages/{message_id}",
    responses=documented(
        "chat_not_found",
        "message_not_found",
        "not_a_user_message",
        "chat_archived",
        "too_many_chats",
        "too_many_parts",
    ),
)
async def edit_message(
    chat_id: UUID,
    message_id: MessageId,
    body: EditMessage,
    caller: Caller,
    desk: AtDesk,
    key: Keyed,
) -> MessageOut:
    """Edit a message of the user, and have it answered again.

    The message gets a new id. The old one and everything after it, the queue included, are dropped; a
    turn that is running ends, and nothing more of it is stored.
    """
    moved = await desk.messages.edit(
        chat_id,
        message_id,
        owner_id=caller.sees,
        content=desk.limits.content(body.content),
        key=key,
    )
    await desk.moved(moved)
    assert moved.entry is not None  # noqa: S101 - an edit always moves the chat
    return desk.dress.message(moved.entry.messages[-1])
