"""Middleware that refuses request bodies over the limit."""

from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chatd.api.errors import problems
from chatd.api.errors.problems import FieldProblem
from chatd.api.middleware.json_bounds import json_refusal
from chatd.api.scope import single_header


class BodyLimitMiddleware:
    """Middleware that answers 413 to a body of more than ``max_body_bytes``, announced or not.

    0 means unlimited. The limit is read for each request, since a reload may change it. A body within it
    that holds too many values, or too deep ones, gets 422.
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
            response = problems.problem_response("body_too_large", _detail(limit))
            await response(scope, receive, send)
            return
        chunks: list[bytes] = []
        received_bytes, response_started = 0, False

        async def receive_within_limit() -> Message:
            nonlocal received_bytes
            message = await receive()
            # Once the response has started, the route only waits for the client to disconnect.
            if response_started:
                return message
            chunk = message.get("body", b"")
            received_bytes += len(chunk)
            if limit and received_bytes > limit:
                raise problems.HttpProblem("body_too_large", _detail(limit))
            chunks.append(chunk)
            if not message.get("more_body", False):
                _check_json(b"".join(chunks))
                chunks.clear()
            return message

        async def send_and_note_start(message: Message) -> None:
            nonlocal response_started
            response_started = True
            chunks.clear()
            await send(message)

        await self._app(scope, receive_within_limit, send_and_note_start)


def _check_json(body: bytes) -> None:
    if (refusal := json_refusal(body)) is not None:
        raise problems.invalid_request(FieldProblem(where="body", message=refusal))


def _detail(limit: int) -> str:
    return f"The body is larger than {limit} bytes (http.max_body_bytes)."
