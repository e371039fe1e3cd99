"""Refusals and failures as clients of OpenAI's dialects know them: ``{"error": {…}}``."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from fastapi.responses import JSONResponse

from chatd.adapters.turn_items import (
    ActionRequired,
    ChatDeleted,
    TurnFailed,
    TurnItem,
    TurnSuperseded,
)
from chatd.api.adapter import Refusal
from chatd.domain.failure import RETRYABLE, FailureKind

NOT_SUPPORTED: Final = "is not supported"
"""The reason of a refused field that asks for what there is not here."""
_UNPROCESSABLE: Final = 422
_TYPES: Final[Mapping[int, str]] = {
    HTTPStatus.UNAUTHORIZED: "authentication_error",
    HTTPStatus.FORBIDDEN: "permission_error",
    HTTPStatus.NOT_FOUND: "not_found_error",
    HTTPStatus.CONFLICT: "conflict_error",
    HTTPStatus.GONE: "not_found_error",
    HTTPStatus.TOO_MANY_REQUESTS: "rate_limit_error",
}
_CODES: Final = {"unauthorized": "invalid_api_key"}
"""Codes that these clients know by another name."""
_DO_NOT_RETRY: Final = {"x-should-retry": "false"}
"""Header by which the clients, which repeat by status alone, know that it does not help."""
_REPEATED: Final = frozenset({HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS})


def refuse(refusal: Refusal) -> JSONResponse:
    """Return a refusal in this dialect."""
    status = 400 if refusal.status == _UNPROCESSABLE else refusal.status
    if refusal.code == "model_not_found":
        status = HTTPStatus.NOT_FOUND
    place, reason = refusal.errors[0] if refusal.errors else (None, "")
    code = "unsupported_parameter" if reason == NOT_SUPPORTED else refusal.code
    headers = dict(refusal.headers)
    if status in _REPEATED and "retry-after" not in headers:
        headers |= _DO_NOT_RETRY
    return JSONResponse(
        error_object(
            refusal.detail,
            status=status,
            code=_CODES.get(code, code),
            param=None if place is None else place.removeprefix("body."),
        ),
        status_code=status,
        headers=headers,
    )


def error_object(
    message: str, *, status: int, code: str | None, param: str | None = None
) -> dict[str, Any]:
    """Return an error as the clients read it. Its type follows from the ``status``."""
    return {
        "error": {
            "message": message,
            "type": error_type(status),
            "param": param,
            "code": code,
        }
    }


def error_type(status: int) -> str:
    """Return the type of the errors with a status."""
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return "server_error"
    return _TYPES.get(status, "invalid_request_error")


@dataclass(frozen=True, slots=True)
class TurnError:
    """Why a turn has no whole answer, as an error of this dialect."""

    status: int
    code: str
    message: str
    can_be_repeated: bool = False

    def object(self) -> dict[str, Any]:
        """Return the error as the clients read it."""
        return error_object(self.message, status=self.status, code=self.code)

    def response(self, headers: Mapping[str, str]) -> JSONResponse:
        """Return the response to a request that nothing was answered to yet."""
        if not self.can_be_repeated:
            headers = {**headers, **_DO_NOT_RETRY}
        return JSONResponse(self.object(), status_code=self.status, headers=headers)


_FAILURES: Final[Mapping[str, tuple[int, str]]] = {
    FailureKind.RATE_LIMIT: (429, "rate_limit"),
    FailureKind.QUOTA: (429, "insufficient_quota"),
    FailureKind.CONTEXT_LIMIT: (400, "context_length_exceeded"),
    FailureKind.CONTEXT_OVERFLOW: (400, "context_length_exceeded"),
    FailureKind.CONTENT_FILTER: (400, "content_filter"),
    FailureKind.INVALID_REQUEST: (400, "invalid_request"),
    FailureKind.OVERLOADED: (503, "overloaded"),
    FailureKind.TIMEOUT: (504, "timeout"),
    FailureKind.STREAM_IDLE: (504, "stream_idle"),
    FailureKind.PANIC: (500, "panic"),
    FailureKind.CONFIGURATION: (500, "configuration"),
}
"""Status and code of each kind of failure. The others are the provider's: 502, and their kind."""

ANSWER_RESTARTED: Final = TurnError(
    502, "answer_restarted", "The answer was begun again after some of it was sent.", True
)
"""The error of words that were sent, do not count, and cannot be taken back here."""
APPROVAL_REQUIRED: Final = TurnError(
    409,
    "approval_required",
    "A person must answer about a tool call, which this protocol cannot ask.",
)


def turn_error(item: TurnItem) -> TurnError | None:
    """Return why the turn has no whole answer, if ``item`` ended it so."""
    match item:
        case TurnFailed(kind, text):
            status, code = _FAILURES.get(kind, (502, kind))
            return TurnError(status, code, text, kind in RETRYABLE)
        case TurnSuperseded():
            return TurnError(409, "superseded", "The message was changed, and is answered anew.")
        case ChatDeleted():
            return TurnError(410, "chat_gone", "This chat was deleted.")
        case ActionRequired(calls) if any(call["kind"] != "result" for call in calls):
            return APPROVAL_REQUIRED
    return None
