"""Routes of responses."""

from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from chatd.adapters.config import Config
from chatd.adapters.operations import Operations
from chatd.adapters.responses.creation import Creation
from chatd.adapters.responses.delivery import Delivery
from chatd.adapters.responses.ids import ResponseId, chat_of_response
from chatd.adapters.responses.listing import ItemPage, Limit, Order, page_of
from chatd.adapters.responses.problems import Refusal, ResponsesRoute, no_response
from chatd.adapters.responses.reading import ResponseReader, StoredResponse
from chatd.adapters.responses.request import MAX_ID_LENGTH, CreateResponse
from chatd.adapters.responses.stored_items import asked_items
from chatd.api.request.idempotency import IdempotencyKeyHeader

router = APIRouter(prefix="/v1/responses", include_in_schema=False, route_class=ResponsesRoute)

_MAX_SEQUENCE_NUMBER: Final = 2**63 - 1
_After = Annotated[str | None, Query(max_length=MAX_ID_LENGTH)]


@router.post("")
async def create_response(
    body: CreateResponse,
    request: Request,
    operations: Operations,
    config: Config,
    key: IdempotencyKeyHeader,
) -> Response:
    """Begin a response, and stream it, wait for it, or leave it in the background."""
    begun = await Creation(body, operations, config, key).prepare()
    headers = {"x-chatd-ignored": ", ".join(body.ignored)} if body.ignored else {}
    return await Delivery(request, operations).begin(begun, body, headers)


@router.get("/{response_id}", response_model=None)
async def get_response(
    response_id: str,
    request: Request,
    operations: Operations,
    stream: bool = False,
    starting_after: Annotated[int | None, Query(ge=0, le=_MAX_SEQUENCE_NUMBER)] = None,
) -> Response | dict[str, Any]:
    """Return a response as it is, or stream it: from its begin, or after the event of a number."""
    reader, stored = await _find(response_id, operations)
    if stream:
        return await Delivery(request, operations).resume(stored, after=starting_after)
    return (await reader.read(stored)).resource()


@router.post("/{response_id}/cancel")
async def cancel_response(response_id: str, operations: Operations) -> dict[str, Any]:
    """Stop a response. One that has ended is returned as it is."""
    reader, stored = await _find(response_id, operations)
    read = await reader.read(stored)
    if read.writer.has_ended:
        return read.resource()
    if stored.turn.message_id is None:
        await operations.remove_queued(stored.id.chat_id, stored.asked.id)
    else:
        await operations.interrupt(stored.id.chat_id)
    return {**read.resource(), "status": "cancelled"}


@router.delete("/{response_id}")
async def delete_response(response_id: str, operations: Operations) -> dict[str, Any]:
    """Delete a response and its conversation, if that was made for it and has nothing else."""
    _, stored = await _find(response_id, operations)
    chat_id, owner_id = stored.id.chat_id, operations.caller.owner_id
    reads = operations.context.store.reads
    queue = await reads.queue(chat_id, limit=1)
    following = None
    if stored.turn.message_id is not None:
        reader = ResponseReader(operations.context, owner_id)
        _, following = await reader.turn_messages(chat_id, stored.turn.message_id)
    if following or queue.items or chat_id != chat_of_response(owner_id, stored.id.turn):
        message = "The response is part of a conversation. Delete that, with all its responses."
        raise Refusal(HTTPStatus.CONFLICT, message)
    await operations.delete(chat_id)
    return {"id": response_id, "object": "response", "deleted": True}


@router.get("/{response_id}/input_items")
async def list_input_items(
    response_id: str,
    operations: Operations,
    after: _After = None,
    limit: Limit = 20,
    order: Order = "desc",
) -> ItemPage:
    """Return what a response answers: the message of the user, or the outputs of function calls."""
    reader, stored = await _find(response_id, operations)
    messages = (await reader.read(stored)).messages if stored.first_step else ()
    items = asked_items(stored, messages)
    return page_of(items if order == "asc" else items[::-1], after=after, limit=limit)


async def _find(response_id: str, operations: Operations) -> tuple[ResponseReader, StoredResponse]:
    parsed = ResponseId.parse(response_id)
    if parsed is None:
        raise no_response(response_id[:MAX_ID_LENGTH])
    reader = ResponseReader(operations.context, operations.caller.owner_id)
    return reader, await reader.find(parsed)
