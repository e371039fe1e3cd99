"""Middleware that closes connections one response at a time while the server stops."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class ConnectionDrainMiddleware:
    """Middleware that adds ``Connection: close`` to every response once ``draining`` is set.

    Without it the server would close kept-alive connections by itself, and a client that is just
    sending its next request on one would get a reset instead of a response.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.draining = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self.draining:
            await self._app(scope, receive, send)
            return

        async def send_with_close(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
            await send(message)

        await self._app(scope, receive, send_with_close)
