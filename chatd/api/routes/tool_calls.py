"""Route that lists the tool calls of a chat."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from chatd.api.context import Context
from chatd.api.errors.problems import problem_responses
from chatd.api.request.caller import Caller
from chatd.api.request.pagination import Limit
from chatd.api.request.query import RejectUnknownParameters
from chatd.api.schema.resources import Page
from chatd.api.schema.tool_call_record import ToolCallRecord
from chatd.api.schema.types import MAX_BIGINT

router = APIRouter(prefix="/api/v1", tags=["chats"])

AfterMessage = Annotated[
    int, Query(ge=0, le=MAX_BIGINT, description="The id of a message. Its calls are not returned.")
]


@router.get(
    "/chats/{chat_id}/tool-calls",
    dependencies=[RejectUnknownParameters],
    responses=problem_responses("chat_not_found"),
)
async def list_tool_calls(
    chat_id: UUID, caller: Caller, context: Context, after_id: AfterMessage = 0, limit: Limit = 100
) -> Page[ToolCallRecord]:
    """Return the tool calls of a chat with their states, oldest first.

    Arguments and results are in the messages. A page has all calls of a message, so it may exceed the
    limit.
    """
    await context.store.reads.chat(chat_id, owner_id=caller.owner_filter)
    page = await context.store.reads.tool_calls(chat_id, after_id, limit=limit)
    return Page(
        items=[ToolCallRecord.from_domain(call) for call in page.items],
        next_cursor=str(page.items[-1].message_id) if page.has_more else None,
    )
