"""Route by which a client submits the results of its tools."""

from uuid import UUID

from fastapi import APIRouter

from chatd.api.context import Context
from chatd.api.errors.problems import problem_responses
from chatd.api.request.caller import Caller
from chatd.api.request.idempotency import IdempotencyKeyHeader
from chatd.api.schema.resources import Chat
from chatd.api.schema.tools import SubmitToolResults

router = APIRouter(prefix="/api/v1", tags=["chats"])


@router.post(
    "/chats/{chat_id}/tool-results",
    responses=problem_responses(
        "chat_not_found",
        "chat_full",
        "no_action_required",
        "storage_full",
        "tool_call_unknown",
        "tool_results_missing",
    ),
)
async def submit_tool_results(
    chat_id: UUID,
    body: SubmitToolResults,
    caller: Caller,
    context: Context,
    key: IdempotencyKeyHeader,
) -> Chat:
    """Submit the results of all pending tool calls. The model continues with them."""
    result = await context.store.tool_calls.submit(
        chat_id,
        owner_id=caller.owner_id,
        actor=caller.actor,
        results=[result.to_domain() for result in body.results],
        key=key,
    )
    return await context.present_answered(result)
