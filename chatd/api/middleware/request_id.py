"""The id of each request, and its log line.

The id is the client's ``X-Request-Id`` if that is valid, else a new one. Every response has it in the
same header, problems included, and every log line of the request carries it, so a client that reports
the id has named the lines to look for.
"""

import logging
import re
from http import HTTPStatus
from random import getrandbits
from uuid import UUID

import structlog
from starlette.types import Scope

from chatd.api.auth.identity import Identity
from chatd.api.scope import IDENTITY, REQUEST_ID, route_template, single_header

_log = structlog.get_logger()

_VALID_REQUEST_ID = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._:=+/@-]{0,127}")


def assign_request_id(scope: Scope) -> None:
    """Give the request its id, and all log lines of this task."""
    request_id = scope[REQUEST_ID] = _client_request_id(scope) or _new_request_id()
    # Never unbound: each request runs in a task of its own.
    structlog.contextvars.bind_contextvars(request_id=request_id)


def log_request(scope: Scope, status: int, seconds: float, *, slow_seconds: float) -> None:
    """Log a request whose response begins.

    The log level is debug. It is info from ``slow_seconds`` to the beginning of the response on, and
    warning for a 5xx.
    """
    level = logging.INFO if seconds >= slow_seconds else logging.DEBUG
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


def _new_request_id() -> str:
    # It names lines of the log and is no secret. The system's own random numbers cost a call of it.
    return f"{getrandbits(128):032x}"


def _client_request_id(scope: Scope) -> str | None:
    value = single_header(scope, b"x-request-id")
    return value.decode() if value is not None and _VALID_REQUEST_ID.fullmatch(value) else None
