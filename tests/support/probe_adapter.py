"""An adapter as small as one can be: it sends the items of a turn as lines of their names and texts."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from chatd.adapters.chat_ids import chat_id as chat_id_of
from chatd.adapters.chat_ids import send_key
from chatd.adapters.config import AdapterConfig
from chatd.adapters.operations import ChatOperations, NewChat, Operations
from chatd.adapters.turn_item_reader import Turn
from chatd.adapters.turn_items import PartDelta, Queued, TurnItem
from chatd.adapters.turn_stream import TurnStreamResponse, open_turn_stream
from chatd.api.adapter import Adapter, Refusal
from chatd.api.schema.content import SentContent
from chatd.api.scope import single_header
from chatd.domain.errors import ChatExists

END = "END"
router = APIRouter(prefix="/probe", include_in_schema=False)


def build(config: AdapterConfig) -> Adapter:
    return Adapter(
        name="probe",
        prefix="/probe",
        router=router,
        refuse=refuse,
        credential=lambda scope: (single_header(scope, b"x-api-key") or b"").decode() or None,
        config=config,
    )


def refuse(refusal: Refusal) -> Response:
    return PlainTextResponse(
        f"{refusal.code}: {refusal.detail}", refusal.status, dict(refusal.headers)
    )


def spell(item: TurnItem) -> bytes:
    match item:
        case PartDelta(text=text):
            line = f"+{text}"
        case Queued(position):
            line = f"queued {position}"
        case _:
            line = type(item).__name__
    return f"{line}\n".encode()


@router.post("/{given}")
async def send(
    given: str, body: dict[str, Any], request: Request, operations: Operations
) -> Response:
    """Send a message, to a new chat if there is none, and stream the turn or return it whole."""
    chat_id = chat_id_of(operations.caller.owner_id, given)
    stream = await open_turn_stream(
        request,
        operations,
        chat_id,
        lambda: _transition(operations, given, body),
        leaving_stops=body.get("leaving_stops", False),
        deletes_chat=body.get("deletes_chat", False),
    )
    if body.get("whole"):
        items = await stream.collect(request)
        return PlainTextResponse(b"".join(map(spell, items)).decode() + END)
    return TurnStreamResponse(stream, spell, end=END.encode())


async def _transition(operations: ChatOperations, given: str, body: Mapping[str, Any]) -> Turn:
    owner_id, key = operations.caller.owner_id, body.get("key", "k")
    chat_id = chat_id_of(owner_id, given)
    content = SentContent(({"type": "text", "text": body["text"]},))
    once = send_key(owner_id, "probe", chat_id, key, content.parts)
    try:
        _, turn = await operations.create(
            NewChat(chat_id=chat_id, content=content, client_key=key), key=once
        )
    except ChatExists:
        return await operations.send(chat_id, content, client_key=key, key=once)
    return turn


@router.get("/{given}")
async def resume(given: str, request: Request, operations: Operations) -> Response:
    """Stream the last turn of a chat, and those that follow from the queue."""
    chat_id = chat_id_of(operations.caller.owner_id, given)
    turn = await operations.latest_turn(chat_id)
    if turn is None:
        return Response(status_code=HTTPStatus.NO_CONTENT)

    async def attach() -> Turn:
        return turn

    stream = await open_turn_stream(
        request, operations, chat_id, attach, follows_queue=True, resumes=True
    )
    return TurnStreamResponse(stream, spell, end=END.encode())


@router.delete("/{given}")
async def stop(given: str, operations: Operations) -> Response:
    chat = await operations.interrupt(chat_id_of(operations.caller.owner_id, given))
    return JSONResponse({"status": chat.status})
