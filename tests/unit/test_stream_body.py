"""Bodies of streams, which the outermost layer sends after the middlewares have returned."""

from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from chatd.api.middleware.stream_body import StreamBodyMiddleware
from chatd.api.scope import STREAM_BODY


class Streamed:
    """A response that notes what is done with it."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.sent_by: Send | None = None

    async def send_body(self, _receive: Receive, send: Send) -> None:
        self.calls.append("send_body")
        self.sent_by = send

    def close(self) -> None:
        self.calls.append("close")


def scope() -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {},
        "http_version": "1.1",
        "method": "GET",
        "path": "/api/v1/chats/stream",
        "headers": [(b"host", b"localhost"), (b"authorization", b"Bearer x")],
        "state": {},
    }


async def receive() -> Message:
    return {"type": "http.disconnect"}


async def send(_message: Message) -> None: ...


async def test_body_is_sent_once_the_middlewares_have_returned() -> None:
    response, request, returned = Streamed(), scope(), []
    headers = request["headers"]

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        scope[STREAM_BODY].response = response
        returned.append(list(response.calls))

    await StreamBodyMiddleware(app)(request, receive, send)
    assert returned == [[]]
    assert response.calls == ["send_body"]
    assert response.sent_by is send, "past the middlewares"
    assert request == {"type": "http", "asgi": {}, "http_version": "1.1", "method": "GET"}
    assert headers == [], "the list that the server holds"


async def test_response_whose_head_could_not_be_sent_is_closed() -> None:
    response = Streamed()

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        scope[STREAM_BODY].response = response
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await StreamBodyMiddleware(app)(scope(), receive, send)
    assert response.calls == ["close"]


async def test_other_responses_keep_their_scope() -> None:
    request = scope()

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None: ...

    await StreamBodyMiddleware(app)(request, receive, send)
    assert request["path"] == "/api/v1/chats/stream"
    assert request["headers"]
