"""Route of the stream of one chat."""

from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request

from chatd.api.context import Context
from chatd.api.errors.problems import problem_responses
from chatd.api.request import headers
from chatd.api.request.caller import Caller
from chatd.api.request.query import RejectUnknownParameters
from chatd.api.schema.events import SSE_DESCRIPTION, ChatEvent, SseResponse
from chatd.api.schema.types import MAX_CURSOR_LENGTH
from chatd.api.sse import EventStreamResponse, open_stream
from chatd.streaming.chat_stream import subscribe_to_chat

router = APIRouter(prefix="/api/v1", tags=["streams"])


@router.get(
    "/chats/{chat_id}/stream",
    dependencies=[RejectUnknownParameters],
    response_model=ChatEvent,
    response_class=SseResponse,
    response_description=SSE_DESCRIPTION,
    responses=problem_responses("chat_not_found", "too_many_streams"),
)
async def stream_chat(
    chat_id: UUID,
    request: Request,
    caller: Caller,
    context: Context,
    after: Annotated[
        str | None,
        Query(description="Id of the last event received.", max_length=MAX_CURSOR_LENGTH),
    ] = None,
) -> EventStreamResponse:
    """Stream the events of a chat. Starts with a `snapshot`, or after the event named by `after`.

    The deltas of a step (`message_part`) are a preview. `message` repeats all of it once it is stored;
    `preview_reset` reports that it will not be stored.
    """
    last_event_id = headers.header_value(request.scope, headers.LAST_EVENT_ID)
    stream = subscribe_to_chat(context.hub, context.store.stream_reads, chat_id)
    return await open_stream(
        stream,
        partial(stream.open, owner_id=caller.owner_filter),
        topic=chat_id,
        cursor=last_event_id or after,
        request=request,
        context=context,
    )
