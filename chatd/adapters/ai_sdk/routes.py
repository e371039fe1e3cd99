"""Routes of the AI SDK: ``useChat`` with its default transport, and what an app adds to it."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from chatd.adapters.ai_sdk.history import ui_messages
from chatd.adapters.ai_sdk.request import ChatRequest
from chatd.adapters.ai_sdk.turns import AtRest, RequestedTurn, TurnUnderWay
from chatd.adapters.ai_sdk.versions import LATEST, VERSIONS, Version
from chatd.adapters.ai_sdk.wire import STREAM_HEADERS, ChunkWriter
from chatd.adapters.chat_ids import chat_id as chat_id_of
from chatd.adapters.config import AdapterConfig, Config
from chatd.adapters.data_frames import DONE
from chatd.adapters.operations import Operations
from chatd.adapters.turn_stream import TurnStreamResponse, open_turn_stream
from chatd.api.adapter import Adapter, Refusal
from chatd.domain.errors import ChatNotFound

PREFIX: Final = "/ai"

router = APIRouter(prefix=PREFIX, include_in_schema=False)

_Given = Annotated[str, Path(min_length=1, max_length=1_000)]
_Flag = Annotated[bool, Query()]


async def _version(version: Literal["v5", "v6", "v7"] | None = None) -> Version:
    """Return the version of the client, which the path says."""
    return LATEST if version is None else VERSIONS[version]


ClientVersion = Annotated[Version, Depends(_version)]


@router.post("/chat")
@router.post("/{version}/chat")
async def send(
    request: Request,
    body: ChatRequest,
    version: ClientVersion,
    operations: Operations,
    config: Config,
    *,
    metadata: _Flag = False,
    on_disconnect: Literal["interrupt"] | None = None,
) -> Response:
    """Do what the client's list asks for, and stream that turn."""
    chat_id = chat_id_of(operations.caller.owner_id, body.id)
    turn = RequestedTurn(operations, config, body, chat_id)
    stream = await open_turn_stream(
        request, operations, chat_id, turn, leaving_stops=on_disconnect is not None
    )
    writer = ChunkWriter(version, chat_id, first_step=turn.first_step, has_metadata=metadata)
    return TurnStreamResponse(stream, writer.spell, end=DONE, headers=STREAM_HEADERS)


@router.get("/chat/{given}/stream")
@router.get("/{version}/chat/{given}/stream")
async def resume(
    request: Request,
    given: _Given,
    version: ClientVersion,
    operations: Operations,
    *,
    metadata: _Flag = False,
) -> Response:
    """Stream the turn under way from its start, and those of the queue after it. 204: there is none."""
    chat_id = chat_id_of(operations.caller.owner_id, given)
    try:
        stream = await open_turn_stream(
            request,
            operations,
            chat_id,
            TurnUnderWay(operations, chat_id),
            follows_queue=version.follows,
            resumes=True,
        )
    except AtRest:
        return Response(status_code=HTTPStatus.NO_CONTENT)
    writer = ChunkWriter(version, chat_id, has_metadata=metadata)
    return TurnStreamResponse(stream, writer.spell, end=DONE, headers=STREAM_HEADERS)


@router.post("/chat/{given}/stop")
@router.post("/{version}/chat/{given}/stop")
@router.delete("/chat/{given}/stream")
@router.delete("/{version}/chat/{given}/stream")
async def stop(given: _Given, version: ClientVersion, operations: Operations) -> JSONResponse:  # noqa: ARG001 - checked
    """Stop the running turn."""
    chat = await operations.interrupt(chat_id_of(operations.caller.owner_id, given))
    return JSONResponse({"success": True, "status": chat.status.value})


@router.get("/chat/{given}")
@router.get("/{version}/chat/{given}")
async def hydrate(
    given: _Given, version: ClientVersion, operations: Operations
) -> Mapping[str, Any]:
    """Return the messages of a chat, to begin ``useChat`` with. The running step comes with its stream."""
    owner_id = operations.caller.owner_id
    chat_id = chat_id_of(owner_id, given)
    snapshot = await operations.context.store.stream_reads.snapshot(chat_id, owner_id=owner_id)
    if snapshot is None:
        raise ChatNotFound(chat_id)
    return {
        "id": given,
        "title": snapshot.chat.title,
        "status": snapshot.chat.status.value,
        "hasOlder": snapshot.has_older,
        "messages": ui_messages(snapshot, version),
    }


def refuse(refusal: Refusal) -> Response:
    """Return a refusal as the clients show it: one sentence."""
    headers = {**refusal.headers, "x-chatd-code": refusal.code}
    return PlainTextResponse(refusal.detail, refusal.status, headers)


def build(config: AdapterConfig) -> Adapter:
    """Build the adapter."""
    return Adapter(name="ai_sdk", prefix=PREFIX, router=router, refuse=refuse, config=config)
