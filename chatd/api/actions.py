"""The route by which a client hands in what its tools returned."""

from uuid import UUID

from fastapi import APIRouter

from chatd.api.auth import Caller
from chatd.api.desk import AtDesk
from chatd.api.keys import Keyed
from chatd.api.problems import documented
from chatd.api.schemas import ChatOut
from chatd.api.tools import SubmitToolResults

router = APIRouter(prefix="/api/v1", tags=["chats"])


@router.post(
    "/chats/{chat_id}/tool-results",
    responses=documented(
        "chat_not_found", "no_action_required", "tool_call_unknown", "tool_results_missing"
    ),
)
async def submit_tool_results(
    chat_id: UUID, body: SubmitToolResults, caller: Caller, desk: AtDesk, key: Keyed
) -> ChatOut:
    """Hand in the results of all open calls of a chat that waits for them; the model goes on."""
    moved = await desk.actions.submit(
        chat_id,
        owner_id=caller.sees,
        results=[result.of_store() for result in body.results],
        key=key,
    )
    return await desk.moved(moved)
