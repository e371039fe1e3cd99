"""A client that disconnects before its request was read is no bug of chatd."""

from typing import Any

from fastapi import FastAPI, Request
from structlog.testing import capture_logs

from chatd.api.errors import problems
from chatd.api.scope import REQUEST_ID


async def test_disconnect_in_mid_request_is_not_logged_as_bug() -> None:
    app = FastAPI()
    problems.install(app)

    @app.post("/")
    async def read(request: Request) -> None:
        await request.body()

    scope = {"type": "http", "method": "POST", "path": "/", "headers": [], "query_string": b""}
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    with capture_logs() as lines:
        await app(scope | {REQUEST_ID: "r"}, receive, send)  # type: ignore[arg-type]
    assert lines == []
    assert sent[0]["status"] == 400
