"""Errors of the client: the server cannot be reached, or it rejects the request."""

from collections.abc import Mapping, Sequence
from typing import Any

from typing_extensions import override

from chatd.client.types import CallDecision


class ClientError(Exception):
    """Base class of all errors of this client."""

    retryable: bool = False
    """True if the same request may succeed later."""
    retry_after: float | None = None
    """Seconds to wait before a retry, as the server requested."""


class ConnectFailed(ClientError):
    """No response, after all attempts. ``__cause__`` is the last error."""

    def __init__(self, url: str, reason: str, *, retryable: bool = True) -> None:
        super().__init__(f"No answer from {url}: {reason}")
        self.url = url
        self.retryable = retryable


class UnexpectedResponse(ClientError):
    """Response of something at this address that is not chatd."""

    def __init__(self, url: str) -> None:
        super().__init__(f"What answers at {url} is not a chatd.")
        self.url = url


class ChatdHTTPError(ClientError):
    """Rejection by the server. ``code`` is stable and meant for programs, ``detail`` for people.

    ``errors`` has ``where`` and ``message`` of each invalid field. ``decisions`` are those about tool calls
    that stand, if ``code`` is ``already_answered``. ``code`` is ``unknown`` if a proxy
    between client and server rejected the request.
    """

    def __init__(
        self,
        status: int,
        *,
        code: str = "unknown",
        detail: str = "",
        errors: Sequence[Mapping[str, str]] = (),
        decisions: Sequence[CallDecision] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.decisions = tuple(decisions)
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = tuple(errors)
        self.retry_after = retry_after
        self.retryable = status in _RETRYABLE_STATUSES or (
            status == _TOO_MANY_REQUESTS and retry_after is not None
        )

    @override
    def __str__(self) -> str:
        return f"{self.detail or 'The server gave no reason.'} ({self.status} {self.code})"


class Unauthorized(ChatdHTTPError):
    """401: the token is missing, invalid, expired or revoked."""


class Forbidden(ChatdHTTPError):
    """403: the token does not permit this request."""


class NotFound(ChatdHTTPError):
    """404, 410: it does not exist, or does no more, or it belongs to another owner."""


class Conflict(ChatdHTTPError):
    """409: the state of the chat does not permit this request."""


class InvalidRequest(ChatdHTTPError):
    """400, 413, 422: the request is invalid. ``errors`` names the fields."""


class TooManyRequests(ChatdHTTPError):
    """429: a limit is reached. ``detail`` names it."""


class ServerError(ChatdHTTPError):
    """5xx: the server or its database failed."""


_ERROR_BY_STATUS: Mapping[int, type[ChatdHTTPError]] = {
    400: InvalidRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: NotFound,
    413: InvalidRequest,
    422: InvalidRequest,
    429: TooManyRequests,
}
_MIN_SERVER_ERROR_STATUS = 500
_RETRYABLE_STATUSES = frozenset({502, 503, 504})
_TOO_MANY_REQUESTS = 429
"""Retried only with ``Retry-After``: repeating a request does not empty a full queue."""


def http_error(status: int, problem: Any, *, retry_after: float | None) -> ChatdHTTPError:
    """Return the error of a response with this status. ``problem`` is its body, if that is JSON."""
    kind = _ERROR_BY_STATUS.get(
        status, ServerError if status >= _MIN_SERVER_ERROR_STATUS else ChatdHTTPError
    )
    body = problem if isinstance(problem, dict) else {}
    return kind(
        status,
        code=str(body.get("code", "unknown")),
        detail=str(body.get("detail", "")),
        errors=body.get("errors") or (),
        decisions=body.get("decisions") or (),
        retry_after=retry_after,
    )
