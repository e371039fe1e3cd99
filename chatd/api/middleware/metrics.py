"""Counts requests, by the template of their route: a path that nobody serves is ``other``."""

from http import HTTPStatus
from time import monotonic

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chatd.api.scope import PROBLEM_CODE, route_template
from chatd.telemetry.instruments import OTHER
from chatd.telemetry.metrics import HttpMetrics


class MetricsMiddleware:
    """A stream counts when it begins, as what it takes is up to its reader."""

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
                self._record(scope, message["status"], monotonic() - began)
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except Exception:
            if not answered:  # whoever is further out answers for it
                self._record(scope, HTTPStatus.INTERNAL_SERVER_ERROR, monotonic() - began)
            raise

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        method, route = scope["method"], route_template(scope) or OTHER
        self._metrics.requests.add(method, route, str(int(status)))
        self._metrics.duration.observe(seconds, method, route)
        if (code := scope.get(PROBLEM_CODE)) is not None:
            self._metrics.problems.add(code)
