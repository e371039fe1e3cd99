"""Middleware that gives each request an id, a log line and a span.

The id is the client's ``X-Request-Id`` if that is valid, else a new one. Every response has it in the
same header, problems included, and every log line of the request carries it, so a client that reports
the id has named the lines to look for.
"""

import logging
import re
from collections.abc import Callable
from http import HTTPStatus
from time import perf_counter
from uuid import UUID, uuid4

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chatd.api.auth.identity import Identity
from chatd.api.scope import IDENTITY, REQUEST_ID, route_template, single_header
from chatd.telemetry import tracing

_log = structlog.get_logger()

REQUEST_ID_HEADER = b"x-request-id"
_VALID_REQUEST_ID = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._:=+/@-]{0,127}")


class RequestIdMiddleware:
    """Middleware that assigns request ids and logs each request once its response starts.

    The log level is debug. It is info from ``slow_seconds`` to the start of the response on, and
    warning for a 5xx.
    """

    def __init__(self, app: ASGIApp, *, slow_seconds: Callable[[], float]) -> None:
        self._app = app
        self._slow_seconds = slow_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _client_request_id(scope) or uuid4().hex
        scope[REQUEST_ID] = request_id
        started_at, response_complete = perf_counter(), False
        method = scope["method"]

        async def send_with_id(message: Message) -> None:
            nonlocal response_complete
            if message["type"] == "http.response.start":
                header = (REQUEST_ID_HEADER, request_id.encode())
                message["headers"] = [*message.get("headers", ()), header]
                self._log_request(scope, message["status"], perf_counter() - started_at)
                tracing.end_request(span, method, route_template(scope), message["status"])
            elif message["type"] == "http.response.body" and not message.get("more_body", False):
                response_complete = True
            await send(message)

        # Never unbound: each request runs in a task of its own.
        structlog.contextvars.bind_contextvars(request_id=request_id)
        with tracing.request_span(method, _traceparent(scope)) as span:
            try:
                await self._app(scope, receive, send_with_id)
            except Exception:
                if not response_complete:
                    raise
                # Swallowed: it was answered and logged as ``http.unexpected``, and uvicorn would log it
                # again.

    def _log_request(self, scope: Scope, status: int, seconds: float) -> None:
        level = logging.INFO if seconds >= self._slow_seconds() else logging.DEBUG
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            level = logging.WARNING
        if not _log.is_enabled_for(level):
            return
        identity: Identity | None = scope.get(IDENTITY)
        _log.log(
            level,
            "http.request",
            method=scope["method"],
            route=route_template(scope),
            status=status,
            seconds=round(seconds, 4),
            chat_id=_chat_id(scope),
            owner_id=identity and identity.owner_id,
            actor_owner_id=identity and identity.actor.owner_id,
            token_id=identity and identity.actor.token_id and str(identity.actor.token_id),
        )


def _chat_id(scope: Scope) -> str | None:
    """Return the chat id in the path, if there is a valid one."""
    value = scope.get("path_params", {}).get("chat_id")
    try:
        return str(UUID(value)) if isinstance(value, str) else None
    except ValueError:
        return None


def _client_request_id(scope: Scope) -> str | None:
    value = single_header(scope, REQUEST_ID_HEADER)
    return value.decode() if value is not None and _VALID_REQUEST_ID.fullmatch(value) else None


def _traceparent(scope: Scope) -> str | None:
    value = single_header(scope, b"traceparent")
    return None if value is None else value.decode("latin-1")
