"""Middleware that sends the body of a stream after all the others have done their part.

Twelve layers handle a request, and each would stay on the stack of a stream for hours and pass on each of
its parts: two thirds of the memory of an idle stream. They have nothing left to do once its head is sent.
The benchmarks ``memory`` and ``parts`` watch it.
"""

from typing import Final, Protocol

from starlette.types import ASGIApp, Receive, Scope, Send

from chatd.api.scope import STREAM_BODY

_USED_BY_SERVER: Final = frozenset({"type", "asgi", "http_version", "method"})
"""Keys of a scope that the server reads while a response is sent."""


class StreamResponse(Protocol):
    """A response whose head was sent."""

    async def send_body(self, receive: Receive, send: Send) -> None:
        """Send the body, and close the response."""

    def close(self) -> None:
        """Close the response without sending its body."""


class StreamBody:
    """Place in a request's scope for a response whose body the outermost layer is to send."""

    __slots__ = ("response",)

    def __init__(self) -> None:
        self.response: StreamResponse | None = None


class StreamBodyMiddleware:
    """Middleware that is further out than all others that know what a request is about."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = scope[STREAM_BODY] = StreamBody()
        try:
            await self._app(scope, receive, send)
        except BaseException:
            if body.response is not None:
                body.response.close()
            raise
        if body.response is not None:
            scope["headers"].clear()  # the server holds the list as well
            for key in scope.keys() - _USED_BY_SERVER:
                del scope[key]
            await body.response.send_body(receive, send)
