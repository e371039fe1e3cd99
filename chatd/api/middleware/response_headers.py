"""Middleware that adds the headers which all responses of a kind have."""

from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_NO_STORE: Final = (b"cache-control", b"no-store")
_CACHEABLE_PATHS: Final = ("/docs", "/openapi.json")


class ResponseHeadersMiddleware:
    """Middleware that keeps caches from storing what the API answers, problems included.

    The documentation is the same for everybody, so it may be stored.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(_CACHEABLE_PATHS):
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message.setdefault("headers", [])
                if not any(name.lower() == b"cache-control" for name, _ in headers):
                    message["headers"] = [*headers, _NO_STORE]
            await send(message)

        await self._app(scope, receive, send_with_headers)
