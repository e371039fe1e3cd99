"""Routes of a chat's queue."""

from http import HTTPStatus
from uuid import UUID

from fastapi import APIRouter

from chatd.api.auth import Caller
from chatd.api.desk import AtDesk
from chatd.api.keys import Keyed
from chatd.api.problems import documented
from chatd.api.schemas import ChatOut, MessageId, Page, QueuedMessageOut

router = APIRouter(prefix="/api/v1/chats/{chat_id}/queue", tags=["queue"])


@router.get("", responses=documented("chat_not_found"))
async def list_queue(chat_id: UUID, caller: Caller, desk: AtDesk) -> Page[QueuedMessageOut]:
    """The messages that wait for the running turn to end, the next one first."""
    await desk.reads.chat(chat_id, owner_id=caller.sees)
    found = await desk.reads.queue(chat_id)
    await desk.know(*(message.model_config_id for message in found))
    return Page(items=[desk.dress.queued_message(message) for message in found])


@router.delete(
    "/{queued_id}",
    status_code=HTTPStatus.NO_CONTENT,
    responses=documented("chat_not_found", "queued_message_not_found"),
)
async def remove_queued(chat_id: UUID, queued_id: MessageId, caller: Caller, desk: AtDesk) -> None:
    """Take back a message that waits."""
    moved = await desk.queue.remove(chat_id, queued_id, owner_id=caller.sees)
    desk.hints.publish(moved.entry)


@router.post(
    "/{queued_id}/promote",
    responses=documented(
        "chat_not_found", "queued_message_not_found", "chat_archived", "too_many_chats"
    ),
)
async def promote_queued(
    chat_id: UUID, queued_id: MessageId, caller: Caller, desk: AtDesk, key: Keyed
) -> ChatOut:
    """Have a message that waits answered next. A running turn stops for it, and keeps what was said."""
    moved = await desk.queue.promote(chat_id, queued_id, owner_id=caller.sees, key=key)
    return await desk.moved(moved)
