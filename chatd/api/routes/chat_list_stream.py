"""Route of the stream of all chats of a caller."""

from datetime import timedelta
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.exceptions import HTTPException

from chatd.api.context import Context
from chatd.api.errors.problems import problem_responses
from chatd.api.request import headers
from chatd.api.request.caller import Caller
from chatd.api.request.pagination import Archived
from chatd.api.request.query import RejectUnknownParameters
from chatd.api.schema.events import SSE_DESCRIPTION, ChatListEvent, SseResponse
from chatd.api.schema.types import MAX_CURSOR_LENGTH
from chatd.api.sse import EventStreamResponse, open_stream
from chatd.streaming.list_stream import subscribe_to_list

router = APIRouter(prefix="/api/v1", tags=["streams"])

_TOPIC = "list"


@router.get(
    "/chats/stream",
    dependencies=[RejectUnknownParameters],
    response_model=ChatListEvent,
    response_class=SseResponse,
    response_description=SSE_DESCRIPTION,
    responses=problem_responses("too_many_streams"),
)
async def stream_chats(
    request: Request,
    caller: Caller,
    context: Context,
    archived: Archived = False,
    after: Annotated[
        str | None,
        Query(description="Id of the last event received.", max_length=MAX_CURSOR_LENGTH),
    ] = None,
) -> EventStreamResponse:
    """Stream the changes of all chats of the owner on one connection.

    Starts with a `snapshot` of the 50 most recently updated chats, or with the chats updated since
    `after`. `chat` is the complete current state of a changed chat, `deleted` names a deleted one. After
    resuming, chats may arrive again: ignore a chat whose `version` you have. `reset` reports that the
    cursor is too old. A `snapshot` follows it. Changes are sent of archived chats too: a chat leaves the
    list when it comes as archived.
    """
    last_event_id = headers.header_value(request.scope, headers.LAST_EVENT_ID)
    stream = subscribe_to_list(
        context.list_hub,
        context.store.chat_lists,
        caller.owner_id,
        retention=timedelta(days=context.event_retention_days),
        archived=None if archived == "any" else archived,
        is_draining=lambda: context.hub.draining,
    )
    return await open_stream(
        stream,
        stream.open,
        topic=_TOPIC,
        cursor=last_event_id or after,
        request=request,
        context=context,
    )


@router.api_route(
    "/chats/stream", methods=["DELETE", "PATCH", "POST", "PUT"], include_in_schema=False
)
async def reject_other_methods() -> None:
    """Answer 405. Without this route, these methods would address a chat with the id ``stream``."""
    raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED, headers={"allow": "GET"})
