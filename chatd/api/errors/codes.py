"""Problem codes: the one list of them, with the HTTP status and the description of each.

A code is a promise to programs, so it enters here first. The description of a domain error is the
docstring of its class in ``domain/errors.py``. The other codes come from HTTP itself and are described
here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus

from chatd.domain import errors
from chatd.domain.errors import Refused


@dataclass(frozen=True, slots=True)
class ProblemType:
    """The HTTP status of a code, and a sentence for people."""

    status: HTTPStatus
    description: str


_DOMAIN_ERRORS: Mapping[HTTPStatus, tuple[type[Refused], ...]] = {
    HTTPStatus.NOT_FOUND: (
        errors.ChatNotFound,
        errors.MessageNotFound,
        errors.QueuedMessageNotFound,
    ),
    HTTPStatus.CONFLICT: (
        errors.ChatArchived,
        errors.ChatBusy,
        errors.ChatTreeBusy,
        errors.NoActionRequired,
        errors.NothingToRetry,
    ),
    HTTPStatus.UNPROCESSABLE_ENTITY: (
        errors.IdempotencyKeyReused,
        errors.ModelNotFound,
        errors.NotAUserMessage,
        errors.ToolCallUnknown,
        errors.ToolResultsMissing,
    ),
    HTTPStatus.TOO_MANY_REQUESTS: (errors.QueueFull, errors.TooManyActiveChats),
}

_HTTP_PROBLEMS: Mapping[HTTPStatus, Mapping[str, str]] = {
    HTTPStatus.BAD_REQUEST: {
        "bad_request": "The request is not valid HTTP, its URL is longer than 65,535 bytes, or its body is "
        "not what its headers say.",
    },
    HTTPStatus.UNAUTHORIZED: {
        "unauthorized": "The request has no token, or the token is not valid.",
    },
    HTTPStatus.FORBIDDEN: {
        "not_an_admin": "Only an admin may act for another owner (`X-Chatd-Owner`) or read process status.",
    },
    HTTPStatus.NOT_FOUND: {"not_found": "No such path."},
    HTTPStatus.METHOD_NOT_ALLOWED: {
        "method_not_allowed": "This path does not support this method.",
    },
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: {
        "body_too_large": "The body is larger than `http.max_body_bytes`.",
    },
    HTTPStatus.UNPROCESSABLE_ENTITY: {
        "conflicting_parameters": "Two of the parameters exclude each other.",
        "invalid_cursor": "The `cursor` was not issued by this API.",
        "invalid_request": "Something in the request is not valid; `errors` says what, and where.",
        "too_many_labels": "A chat may have at most `limits.max_labels` labels.",
        "too_many_parts": "A message may have at most `limits.max_content_parts` parts.",
        "too_many_tools": "A chat may have at most `turn.max_tools` tools.",
    },
    HTTPStatus.TOO_MANY_REQUESTS: {
        "too_many_requests": "Too many requests (`limits.requests_per_second`).",
        "too_many_streams": "You have too many streams open (`limits.max_streams`).",
    },
    HTTPStatus.INTERNAL_SERVER_ERROR: {
        "internal": "Something went wrong in chatd; it was logged.",
    },
    HTTPStatus.SERVICE_UNAVAILABLE: {
        "database_unavailable": errors.DatabaseUnavailable.description(),
        "jwks_unavailable": "The identity provider's key set is temporarily unavailable.",
        "not_ready": "This process is starting or stopping; others may be ready.",
    },
}


def _problem_types() -> Iterator[tuple[str, ProblemType]]:
    for status, classes in _DOMAIN_ERRORS.items():
        for error in classes:
            yield error.code, ProblemType(status, error.description())
    for status, descriptions in _HTTP_PROBLEMS.items():
        for code, description in descriptions.items():
            yield code, ProblemType(status, description)


PROBLEMS: Mapping[str, ProblemType] = dict(_problem_types())
"""Every code, with its status and description."""
