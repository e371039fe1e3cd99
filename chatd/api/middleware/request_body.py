"""Middleware that reads request bodies, and refuses those over the limit."""

from collections.abc import Callable
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chatd.api.errors import problems
from chatd.api.errors.problems import FieldProblem, HttpProblem
from chatd.api.middleware.json_bounds import json_refusal
from chatd.api.scope import BODY_SIZE, header_values, single_header

_METHODS_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})


def has_body(scope: Scope) -> bool:
    """Return whether the headers announce a body that a route may read."""
    return scope["method"] in _METHODS_WITH_BODY and (
        single_header(scope, b"content-length") != b"0"
        if header_values(scope, b"content-length")
        else bool(header_values(scope, b"transfer-encoding"))
    )


class RequestBodyMiddleware:
    """Middleware that reads a body, and only then calls the rest: how long it takes is up to the client.

    It answers 413 to a body of more than ``max_body_bytes`` (0: unlimited), announced or not. The limit is
    read for each request, since a reload may change it. A body within it that holds too many values, or too
    deep ones, gets 422.
    """

    def __init__(self, app: ASGIApp, *, max_body_bytes: Callable[[], int]) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._max_body_bytes()
        content_length = single_header(scope, b"content-length") or b"0"
        if limit and content_length.isdigit() and int(content_length) > limit:
            # Keep the connection open: closing it while the body is still sent would lose the response.
            await problems.problem_response("body_too_large", _detail(limit))(scope, receive, send)
            return
        if not has_body(scope):
            await self._app(scope, receive, send)
            return
        try:
            message = await _read(receive, limit)
        except HttpProblem as problem:
            await problems.to_response(problem)(scope, receive, send)
            return
        scope[BODY_SIZE] = len(message.get("body", b""))
        await self._app(scope, _receive_again(message, receive), send)


async def _read(receive: Receive, limit: int) -> Message:
    """Return one message with the whole body, or that the client has disconnected.

    Raises ``HttpProblem`` when it is over the limit, or its JSON is.
    """
    chunks: list[bytes] = []
    received_bytes, more = 0, True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return message
        chunk, more = message.get("body", b""), message.get("more_body", False)
        received_bytes += len(chunk)
        if limit and received_bytes > limit:
            raise HttpProblem("body_too_large", _detail(limit))
        chunks.append(chunk)
    body = b"".join(chunks)
    if (refusal := json_refusal(body)) is not None:
        raise problems.invalid_request(FieldProblem(where="body", message=refusal))
    return {"type": "http.request", "body": body, "more_body": False}


def _receive_again(message: Message, receive: Receive) -> Receive:
    """Return a ``receive`` that returns ``message`` first, and keeps it no longer."""
    messages = [message]

    async def receive_message() -> Message:
        return messages.pop() if messages else await receive()

    return receive_message


def _detail(limit: int) -> str:
    return f"The body is larger than {limit} bytes (http.max_body_bytes)."
