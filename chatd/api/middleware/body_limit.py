"""Middleware that refuses request bodies over the limit."""

from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chatd.api.errors import problems
from chatd.api.scope import single_header


class BodyLimitMiddleware:
    """Middleware that answers 413 to a body of more than ``max_body_bytes``, announced or not.

    0 means unlimited. The limit is read for each request, since a reload may change it.
    """

    def __init__(self, app: ASGIApp, *, max_body_bytes: Callable[[], int]) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        limit = self._max_body_bytes()
        if scope["type"] != "http" or not limit:
            await self._app(scope, receive, send)
            return
        content_length = single_header(scope, b"content-length") or b"0"
        if content_length.isdigit() and int(content_length) > limit:
            # Keep the connection open: closing it while the body is still sent would lose the response.
            response = problems.problem_response("body_too_large", _detail(limit))
            await response(scope, receive, send)
            return
        received_bytes, response_started = 0, False

        async def receive_within_limit() -> Message:
            nonlocal received_bytes
            message = await receive()
            received_bytes += len(message.get("body", b""))
            # Once the response has started, the route only waits for the client to disconnect.
            if received_bytes > limit and not response_started:
                raise problems.HttpProblem("body_too_large", _detail(limit))
            return message

        async def send_and_note_start(message: Message) -> None:
            nonlocal response_started
            response_started = True
            await send(message)

        await self._app(scope, receive_within_limit, send_and_note_start)


def _detail(limit: int) -> str:
    return f"The body is larger than {limit} bytes (http.max_body_bytes)."
