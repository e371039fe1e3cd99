"""Baseline of a turn over HTTP: a bare FastAPI app with the same statements and the same events.

``python -m benchmarks.baseline_app DSN``. A POST creates the chat; the stream itself does the work that
chatd's worker does, and sends each event as soon as it is known. There is no daemon, no lease, no hub, no
replay and no journal, so it leaves out everything that chatd adds. It is written to be fast: uvicorn with
uvloop and httptools in one process, answers encoded by pydantic's encoder, parts that are ready at once
sent in one piece.
"""

import json
import socket
import sys
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import anyio
import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from pydantic_core import to_json

from benchmarks.baseline_sql import BaselineStore
from benchmarks.replica import ANSWER, PARTS


class CreateChatBody(BaseModel):
    content: str


class CreatedChat(BaseModel):
    id: UUID
    status: str


def build_app(store: BaselineStore) -> FastAPI:
    app = FastAPI()

    @app.get("/readyz")
    async def ready() -> dict[str, str]:
        return {"status": "ready"}

    @app.post("/api/v1/chats", status_code=201)
    async def create(body: CreateChatBody) -> CreatedChat:
        return CreatedChat(id=await store.create(body.content), status="pending")

    @app.get("/api/v1/chats/{chat_id}/stream")
    async def stream(chat_id: UUID) -> StreamingResponse:
        return StreamingResponse(_run_turn(store, chat_id), media_type="text/event-stream")

    return app


async def _run_turn(store: BaselineStore, chat_id: UUID) -> AsyncIterator[bytes]:
    chat = await store.claim()
    await store.history(chat)
    size = -(-len(ANSWER) // PARTS)
    pieces = [ANSWER[at : at + size] for at in range(0, len(ANSWER), size)]
    parts = [{"index": 0, "type": "text", "text": piece} for piece in pieces]
    yield b"".join(_encode_event("message_part", part) for part in parts)
    await store.finish(chat)
    content = [{"type": "text", "text": ANSWER}]
    message = {"chat_id": chat_id, "role": "assistant", "content": content}
    yield _encode_event("message", message) + _encode_event("status", {"status": "waiting"})


def _encode_event(kind: str, fields: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), to_json(fields))


async def main(dsn: str) -> None:
    app = build_app(await BaselineStore.open(dsn))
    config = uvicorn.Config(
        app, lifespan="off", log_config=None, access_log=False, ws="none", http="httptools"
    )
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    host, port = listener.getsockname()
    print(json.dumps({"event": "http.listening", "host": host, "port": port}), flush=True)
    await uvicorn.Server(config).serve(sockets=[listener])


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], backend_options={"use_uvloop": True})
