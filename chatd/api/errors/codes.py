"""Problem codes: the one list of them, with the HTTP status and the description of each.

A code is a promise to programs, so it enters here first. The description of a domain error is the
docstring of its class in ``domain/errors.py``. The other codes come from HTTP itself and are described
here. Titles are those of RFC 9110, and not of ``http.HTTPStatus``, which differ between versions of Python.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from chatd.domain import errors
from chatd.domain.errors import Refused


@dataclass(frozen=True, slots=True)
class ProblemType:
    """The HTTP status of a code, the title of that status, and a sentence for people.

    ``retry_after_seconds`` is the ``Retry-After`` of its responses, unless one is known to be longer.
    None: waiting does not help.
    """

    status: int
    title: str
    description: str
    retry_after_seconds: int | None = None


def _described(*classes: type[Refused]) -> dict[str, str]:
    return {error.code: error.description() for error in classes}


_CODES: Mapping[tuple[int, str], Mapping[str, str]] = {
    (400, "Bad Request"): {
        "bad_request": "The request is not valid HTTP, its URL is longer than 65,535 bytes, or its body is "
        "not what its headers say.",
    },
    (401, "Unauthorized"): {"unauthorized": "The request has no token, or the token is not valid."},
    (403, "Forbidden"): {
        "insufficient_scope": "The token has none of the scopes that this operation takes, or the request "
        "names another owner (`X-Chatd-Owner`) and the token has not the scope `act-for`.",
        "foreign_origin": "A web page of another site (`Origin`) may not change anything, unless "
        "`http.cors_origins` has it.",
    },
    (404, "Not Found"): {
        "not_found": "No such path.",
        **_described(
            errors.ChatNotFound,
            errors.FileNotFoundInChat,
            errors.MessageNotFound,
            errors.QueuedMessageNotFound,
            errors.WorkerNotFound,
        ),
    },
    (405, "Method Not Allowed"): {"method_not_allowed": "This path does not support this method."},
    (408, "Request Timeout"): {
        "request_timeout": "The request took longer to arrive than `http.head_timeout_seconds` or "
        "`http.body_timeout_seconds`."
    },
    (409, "Conflict"): _described(
        errors.AlreadyAnswered,
        errors.ChatArchived,
        errors.ChatBusy,
        errors.ChatExists,
        errors.ChatTreeBusy,
        errors.NoActionRequired,
        errors.NothingToCompact,
        errors.NothingToRetry,
    ),
    (410, "Gone"): _described(errors.ChatGone),
    (413, "Content Too Large"): {
        "body_too_large": "The body is larger than `http.max_body_bytes`.",
        **_described(errors.ChatFull, errors.StorageFull),
    },
    (421, "Misdirected Request"): {
        "misdirected_request": "Without authentication, only requests to localhost, 127.0.0.1 or [::1] are "
        "served, so that no web page can point its own name here."
    },
    (422, "Unprocessable Content"): {
        "conflicting_parameters": "Two of the parameters exclude each other.",
        "invalid_cursor": "The `cursor` was not issued by this API.",
        "invalid_request": "Something in the request is not valid; `errors` says what, and where.",
        "too_many_labels": "A chat may have at most `limits.max_labels` labels.",
        "too_many_parts": "A message may have at most `limits.max_content_parts` parts.",
        "too_many_tools": "A chat may have at most `turn.max_tools` tools.",
        "unsupported_file": "The model's provider does not take a file of this media type or size.",
        **_described(
            errors.AnswerMismatch,
            errors.IdempotencyKeyReused,
            errors.ModelNotFound,
            errors.NotAUserMessage,
            errors.ToolCallUnknown,
            errors.ToolResultsMissing,
        ),
    },
    (429, "Too Many Requests"): {
        "too_many_requests": "Too many requests (`limits.requests_per_second`, `limits.max_requests`).",
        "too_many_streams": "You have too many streams open (`limits.max_streams`).",
        **_described(errors.QueueFull, errors.TooManyActiveChats, errors.TooManySearches),
    },
    (431, "Request Header Fields Too Large"): {
        "head_too_large": "The head of the request is larger than `http.max_head_bytes`."
    },
    (500, "Internal Server Error"): {
        "internal": "Something went wrong in chatd; it was logged.",
        "chat_unreadable": errors.ChatUnreadable.description(),
    },
    (503, "Service Unavailable"): {
        "database_unavailable": errors.DatabaseUnavailable.description(),
        "jwks_unavailable": "The identity provider's key set is temporarily unavailable.",
        **_described(errors.SearchUnavailable),
        "too_many_connections": "The process has as many connections as it may (`http.max_connections`).",
        "not_ready": "This process is starting or stopping; others may be ready.",
        **_described(errors.StatusUnknown),
    },
}

_PASSING_STATUSES: Final = frozenset({429, 503})
"""Statuses of problems that pass. Each response has a ``Retry-After``, or programs would give up."""
_RETRY_AFTER_SECONDS: Mapping[str, int | None] = {
    "too_many_streams": 5,
    # These pass when the owner's own chats are done, which may take an hour. A client that repeated the
    # request meanwhile would hide it from its user.
    "queue_full": None,
    "too_many_active_chats": None,
}
"""Codes of these statuses with another wait than one second."""


def _retry_after_seconds(status: int, code: str) -> int | None:
    return _RETRY_AFTER_SECONDS.get(code, 1) if status in _PASSING_STATUSES else None


PROBLEMS: Mapping[str, ProblemType] = {
    code: ProblemType(status, title, description, _retry_after_seconds(status, code))
    for (status, title), descriptions in _CODES.items()
    for code, description in descriptions.items()
}
"""Every code, with its status and description."""
