"""Middleware that counts and times requests."""

from http import HTTPStatus
from time import monotonic

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chatd.api.scope import PROBLEM_CODE, route_template
from chatd.telemetry.instruments import OTHER
from chatd.telemetry.metrics import HttpMetrics


class MetricsMiddleware:
    """Middleware that records each request under the template of its route, or ``other`` without one.

    A request is recorded when its response starts: how long a stream then takes is up to its client.
    """

    def __init__(self, app: ASGIApp, *, metrics: HttpMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_at, response_started = monotonic(), False

        async def send_and_record(message: Message) -> None:
            nonlocal response_started
            if message["type"] == "http.response.start":
                response_started = True
                self._record(scope, message["status"], monotonic() - started_at)
            await send(message)

        try:
            await self._app(scope, receive, send_and_record)
        except Exception:
            if not response_started:  # a middleware further out answers 500
                self._record(scope, HTTPStatus.INTERNAL_SERVER_ERROR, monotonic() - started_at)
            raise

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        method, route = scope["method"], route_template(scope) or OTHER
        self._metrics.requests.add(method, route, str(int(status)))
        self._metrics.duration.observe(seconds, method, route)
        if (code := scope.get(PROBLEM_CODE)) is not None:
            self._metrics.problems.add(code)
