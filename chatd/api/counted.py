"""Counts requests, by the template of their route: a path that nobody serves is ``other``."""

from time import monotonic

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chatd.telemetry.instruments import OTHER
from chatd.telemetry.metrics import HttpMetrics

PROBLEM = "chatd.problem"
"""Where a request's scope has the code of the problem that it was answered with."""

_FAILED = "500"


class Counted:
    """The outermost layer. A stream counts when it begins, as what it takes is up to its reader."""

    def __init__(self, app: ASGIApp, *, metrics: HttpMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, answered = monotonic(), False

        async def noted(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = True
                self._count(scope, str(message["status"]), monotonic() - began)
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except Exception:
            if not answered:  # whoever is further out answers for it
                self._count(scope, _FAILED, monotonic() - began)
            raise

    def _count(self, scope: Scope, status: str, seconds: float) -> None:
        method, route = scope["method"], getattr(scope.get("route"), "path", OTHER)
        self._metrics.requests.add(method, route, status)
        self._metrics.seconds.observe(seconds, method, route)
        if (code := scope.get(PROBLEM)) is not None:
            self._metrics.problems.add(code)
