"""What may go wrong for a caller: the server cannot be reached, or it refuses and says why."""

from collections.abc import Mapping, Sequence
from typing import Any

from typing_extensions import override


class ClientError(Exception):
    """Everything that this client raises on purpose."""

    retryable: bool = False
    """Whether the same request may well succeed later."""
    retry_after: float | None = None
    """Seconds after which the server asks to be asked again."""


class ConnectFailed(ClientError):
    """No answer could be had, however often it was asked; ``__cause__`` says what happened last."""

    def __init__(self, url: str, reason: str, *, retryable: bool = True) -> None:
        super().__init__(f"No answer from {url}: {reason}")
        self.url = url
        self.retryable = retryable


class UnexpectedResponse(ClientError):
    """Something answers at this address, but not as a chatd would."""

    def __init__(self, url: str) -> None:
        super().__init__(f"What answers at {url} is not a chatd.")
        self.url = url


class ChatdHTTPError(ClientError):
    """The server refused. ``code`` is stable and meant for programs, ``detail`` for people.

    ``provider_errors`` names each field that is wrong (``where``, ``message``). What stands between client
    and server may refuse in words of its own: then ``code`` is ``unknown_calls``.
    """

    def __init__(
        self,
        status: int,
        *,
        code: str = "unknown",
        detail: str = "",
        errors: Sequence[Mapping[str, str]] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(detail)
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
    """401: no token, or none that counts (any more)."""


class Forbidden(ChatdHTTPError):
    """403: the token is good, but not for this."""


class NotFound(ChatdHTTPError):
    """404: there is no such thing, or it is somebody else's."""


class Conflict(ChatdHTTPError):
    """409: not in the state that the chat is in."""


class InvalidRequest(ChatdHTTPError):
    """400, 413, 422: the request makes no sense; ``provider_errors`` says where."""


class TooManyRequests(ChatdHTTPError):
    """429: a limit is reached; ``detail`` names it."""


class ServerError(ChatdHTTPError):
    """5xx: the server, or what it stands on, is not well."""


_ERROR_BY_STATUS: Mapping[int, type[ChatdHTTPError]] = {
    400: InvalidRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: InvalidRequest,
    422: InvalidRequest,
    429: TooManyRequests,
}
_MIN_SERVER_ERROR_STATUS = 500
_RETRYABLE_STATUSES = frozenset({502, 503, 504})
_TOO_MANY_REQUESTS = 429
"""Passes only when the server says after how long: a full queue does not empty by asking again."""


def http_error(status: int, problem: Any, *, retry_after: float | None) -> ChatdHTTPError:
    """The error of an answer with this status; ``problem`` is its body, if it was JSON."""
    kind = _ERROR_BY_STATUS.get(
        status, ServerError if status >= _MIN_SERVER_ERROR_STATUS else ChatdHTTPError
    )
    told = problem if isinstance(problem, dict) else {}
    return kind(
        status,
        code=str(told.get("code", "unknown")),
        detail=str(told.get("detail", "")),
        errors=told.get("errors") or (),
        retry_after=retry_after,
    )
