"""The floor of a turn over HTTP: a bare FastAPI app with four statements and the events of one answer.

``python -m benchmarks.baseline_app DSN reset|no-reset``. A POST is answered by the stream of its turn.
There is no daemon, no lease, no hub, no replay and no journal, so it leaves out everything that chatd adds.
With ``reset``, which is asyncpg's default, the pool resets a connection after each statement.
"""

import json
import socket
import sys
from collections.abc import AsyncIterator

import anyio
import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from benchmarks.baseline_sql import BaselineStore
from benchmarks.replica import ANSWER, PARTS


class TurnBody(BaseModel):
    content: str


def build_app(store: BaselineStore) -> FastAPI:
    app = FastAPI()

    @app.get("/readyz")
    async def ready() -> dict[str, str]:
        return {"status": "ready"}

    @app.post("/turns")
    async def run_turn(body: TurnBody) -> StreamingResponse:
        await store.send(body.content)
        return StreamingResponse(_run_turn(store), media_type="text/event-stream")

    return app


async def _run_turn(store: BaselineStore) -> AsyncIterator[str]:
    chat = await store.claim()
    if chat is not None:
        await store.history(chat)
    size = -(-len(ANSWER) // PARTS)
    for at in range(0, len(ANSWER), size):
        yield f"event: message_part\ndata: {json.dumps({'text': ANSWER[at : at + size]})}\n\n"
    if chat is not None:
        await store.finish(chat)
    yield 'event: status\ndata: {"status": "waiting"}\n\n'


async def main(dsn: str, reset: str) -> None:
    app = build_app(await BaselineStore.open(dsn, reset=reset == "reset"))
    config = uvicorn.Config(
        app, lifespan="off", log_config=None, access_log=False, ws="none", http="httptools"
    )
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    host, port = listener.getsockname()
    print(json.dumps({"event": "http.listening", "host": host, "port": port}), flush=True)
    await uvicorn.Server(config).serve(sockets=[listener])


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], sys.argv[2], backend_options={"use_uvloop": True})
