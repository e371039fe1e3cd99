"""Bodies of streams, which are sent after all steps of the pipeline, and errors of the steps."""

from types import SimpleNamespace
from typing import Any

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chatd.api.auth.identity import AnonymousAuthenticator, Grant
from chatd.api.middleware.admission import Admission
from chatd.api.pipeline import RequestPipeline
from chatd.api.scope import EXCHANGE
from chatd.telemetry.metrics import Metrics

CONFIG: Any = SimpleNamespace(
    requests_per_second=0,
    max_requests_per_owner=0,
    max_searches_per_owner=0,
    max_body_bytes=0,
    slow_request_seconds=1.0,
)


class Streamed:
    """A response that notes what is done with it."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.sent_by: Send | None = None

    async def send_body(self, send: Send) -> None:
        self.calls.append("send_body")
        self.sent_by = send

    def close(self) -> None:
        self.calls.append("close")


class BrokenAuthenticator:
    """An authenticator with an error of its own."""

    async def authenticate(self, _credential: str | None) -> Grant:
        raise ZeroDivisionError


def pipeline(app: ASGIApp, **more: Any) -> RequestPipeline:
    admission = Admission()
    admission.open()
    defaults: dict[str, Any] = {
        "config": lambda: CONFIG,
        "metrics": Metrics().http,
        "authenticator": AnonymousAuthenticator(),
        "public_paths": (),
        "admission": admission,
        "cors_origins": (),
        "loopback_only": False,
        "database_reachable": lambda: True,
        "hot_routes": None,
    }
    return RequestPipeline(app, **defaults | more)


def scope() -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {},
        "http_version": "1.1",
        "method": "GET",
        "path": "/api/v1/chats/stream",
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"authorization", b"Bearer x")],
        "state": {},
    }


async def receive() -> Message:
    return {"type": "http.disconnect"}


async def send(_message: Message) -> None: ...


async def test_body_is_sent_once_all_steps_have_returned() -> None:
    response, request, returned = Streamed(), scope(), []
    headers = request["headers"]

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        scope[EXCHANGE].stream = response
        returned.append(list(response.calls))

    await pipeline(app)(request, receive, send)
    assert returned == [[]]
    assert response.calls == ["send_body"]
    assert response.sent_by is send, "past the wrapper"
    assert request == {"type": "http", "asgi": {}, "http_version": "1.1", "method": "GET"}
    assert headers == [], "the list that the server holds"


async def test_response_whose_head_could_not_be_sent_is_closed() -> None:
    response = Streamed()

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        scope[EXCHANGE].stream = response
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send_to_nobody(_message: Message) -> None:
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await pipeline(app)(scope(), receive, send_to_nobody)
    assert response.calls == ["close"]


async def test_other_responses_keep_their_scope() -> None:
    request = scope()
    await pipeline(PlainTextResponse("found"))(request, receive, send)
    assert request["path"] == "/api/v1/chats/stream"
    assert request["headers"]


async def test_unexpected_error_of_a_step_is_answered_and_not_raised() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    app = PlainTextResponse("never")
    await pipeline(app, authenticator=BrokenAuthenticator())(scope(), receive, send)
    assert sent[0]["status"] == 500
    assert b'"code":"internal"' in sent[1]["body"]
    assert b"x-request-id" in dict(sent[0]["headers"])


async def test_error_in_the_middle_of_a_response_is_raised_and_not_answered() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await pipeline(app)(scope(), receive, send)
    assert [message["type"] for message in sent] == ["http.response.start"], "no second head"
