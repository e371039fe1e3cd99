"""Every request has an id, and its lines in the log have it too.

The id is the caller's (``X-Request-Id``), if it is fit to be one, or a fresh one; it is answered in
the same header, also with every problem. A caller that reports it has named the lines to look for.
"""

import logging
import re
from collections.abc import Callable
from http import HTTPStatus
from time import perf_counter
from uuid import UUID, uuid4

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chatd.api.scope import REQUEST_ID, route_template, single_header
from chatd.telemetry import tracing

_log = structlog.get_logger()

REQUEST_ID_HEADER = b"x-request-id"
_VALID_REQUEST_ID = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._:=+/@-]{0,127}")


class RequestIdMiddleware:
    """Names each request, and logs it: at debug, or louder when it was slow or failed.

    ``slow_seconds`` says what an answer may take to begin.
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
        began, answered = perf_counter(), False
        method = scope["method"]

        async def named(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                header = (REQUEST_ID_HEADER, request_id.encode())
                message["headers"] = [*message.get("headers", ()), header]
                self._log_request(scope, message["status"], perf_counter() - began)
                tracing.end_request(span, method, route_template(scope), message["status"])
            elif message["type"] == "http.response.body" and not message.get("more_body", False):
                answered = True
            await send(message)

        # Never unbound: a request is a task of its own.
        structlog.contextvars.bind_contextvars(request_id=request_id)
        with tracing.request_span(method, _traceparent(scope)) as span:
            try:
                await self._app(scope, receive, named)
            except Exception:
                if not answered:
                    raise
                # It is logged (``http.unexpected``) and answered; raised on, it would be logged again.

    def _log_request(self, scope: Scope, status: int, seconds: float) -> None:
        level = logging.INFO if seconds >= self._slow_seconds() else logging.DEBUG
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            level = logging.WARNING
        if not _log.is_enabled_for(level):
            return
        _log.log(
            level,
            "http.request",
            method=scope["method"],
            route=route_template(scope),
            status=status,
            seconds=round(seconds, 4),
            chat_id=_chat_id(scope),
        )


def _chat_id(scope: Scope) -> str | None:
    """The chat that the path names, if it is the id of one."""
    named = scope.get("path_params", {}).get("chat_id")
    try:
        return str(UUID(named)) if isinstance(named, str) else None
    except ValueError:
        return None


def _client_request_id(scope: Scope) -> str | None:
    given = single_header(scope, REQUEST_ID_HEADER)
    return given.decode() if given is not None and _VALID_REQUEST_ID.fullmatch(given) else None


def _traceparent(scope: Scope) -> str | None:
    given = single_header(scope, b"traceparent")
    return None if given is None else given.decode("latin-1")
