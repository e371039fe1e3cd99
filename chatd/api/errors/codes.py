"""Every ``code`` that a problem may have: the one list of them.

A code is a promise to programs, so it is added here first: with its status, with the reason why
somebody meets it, and with its reach, which says whose description lists it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus


class AppliesTo(Enum):
    """Which operations may answer with a code."""

    DECLARED = auto()
    """Those whose route names it."""
    EVERY = auto()
    AUTHENTICATED = auto()
    """All that ask who is calling."""
    BODY = auto()
    """Those that take a body."""
    INPUT = auto()
    """Those that take a body or parameters."""
    REPLAYABLE = auto()
    """POST and PATCH."""
    UNROUTED = auto()
    """None: there is no such operation."""


@dataclass(frozen=True, slots=True)
class ProblemType:
    """What a code stands for. ``description`` is a sentence for people."""

    status: HTTPStatus
    description: str
    applies_to: AppliesTo = AppliesTo.DECLARED


PROBLEMS: Mapping[str, ProblemType] = {
    "bad_request": ProblemType(
        HTTPStatus.BAD_REQUEST,
        "This is not HTTP, its URL is longer than 65,535 bytes, or its body is not what its headers say.",
        AppliesTo.EVERY,
    ),
    "body_too_large": ProblemType(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "The body is larger than `http.max_body_bytes`.",
        AppliesTo.BODY,
    ),
    "chat_archived": ProblemType(HTTPStatus.CONFLICT, "The chat is archived; unarchive it first."),
    "chat_busy": ProblemType(HTTPStatus.CONFLICT, "The chat is busy; this needs it to be at rest."),
    "chat_not_found": ProblemType(HTTPStatus.NOT_FOUND, "You have no chat with this id."),
    "conflicting_parameters": ProblemType(
        HTTPStatus.UNPROCESSABLE_ENTITY, "Two of the parameters exclude each other."
    ),
    "database_unavailable": ProblemType(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "The database cannot be reached just now; try again after `Retry-After` seconds.",
        AppliesTo.AUTHENTICATED,
    ),
    "chat_tree_busy": ProblemType(
        HTTPStatus.CONFLICT, "A chat of this family is busy, so none of it was archived."
    ),
    "idempotency_key_reused": ProblemType(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "This `Idempotency-Key` was used for another request.",
        AppliesTo.REPLAYABLE,
    ),
    "internal": ProblemType(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "Something went wrong here; it was logged.",
        AppliesTo.EVERY,
    ),
    "invalid_cursor": ProblemType(
        HTTPStatus.UNPROCESSABLE_ENTITY, "The `cursor` is not one that this API has given."
    ),
    "invalid_request": ProblemType(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "Something in the request is not valid; `errors` says what, and where.",
        AppliesTo.INPUT,
    ),
    "jwks_unavailable": ProblemType(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "The identity provider's key set cannot be read just now; try again.",
        AppliesTo.AUTHENTICATED,
    ),
    "message_not_found": ProblemType(
        HTTPStatus.NOT_FOUND, "The chat's history has no message with this id."
    ),
    "method_not_allowed": ProblemType(
        HTTPStatus.METHOD_NOT_ALLOWED, "This path does not take this method.", AppliesTo.UNROUTED
    ),
    "model_not_found": ProblemType(
        HTTPStatus.UNPROCESSABLE_ENTITY, "No model of this name is configured."
    ),
    "no_action_required": ProblemType(
        HTTPStatus.CONFLICT, "The chat is not waiting for tool results (any more)."
    ),
    "not_a_user_message": ProblemType(
        HTTPStatus.UNPROCESSABLE_ENTITY, "Only a user's message can be edited."
    ),
    "not_an_admin": ProblemType(
        HTTPStatus.FORBIDDEN,
        "Only an admin may act for another owner (`X-Chatd-Owner`), or see how the process is doing.",
        AppliesTo.AUTHENTICATED,
    ),
    "not_found": ProblemType(
        HTTPStatus.NOT_FOUND, "There is nothing at this path.", AppliesTo.UNROUTED
    ),
    "not_ready": ProblemType(
        HTTPStatus.SERVICE_UNAVAILABLE, "This process is starting or stopping; others may be ready."
    ),
    "nothing_to_retry": ProblemType(
        HTTPStatus.CONFLICT, "The chat's last turn did not fail, so there is nothing to retry."
    ),
    "queue_full": ProblemType(
        HTTPStatus.TOO_MANY_REQUESTS,
        "The queue is full (`worker.max_queued_messages`).",
    ),
    "queued_message_not_found": ProblemType(
        HTTPStatus.NOT_FOUND,
        "The chat's queue has no message with this id; it may have moved to the history already.",
    ),
    "too_many_active_chats": ProblemType(
        HTTPStatus.TOO_MANY_REQUESTS,
        "Too many of your chats are in flight (`limits.max_chats_in_flight`).",
    ),
    "too_many_labels": ProblemType(
        HTTPStatus.UNPROCESSABLE_ENTITY, "A chat may have at most `limits.max_labels` labels."
    ),
    "too_many_parts": ProblemType(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "A message may have at most `limits.max_content_parts` parts.",
    ),
    "too_many_requests": ProblemType(
        HTTPStatus.TOO_MANY_REQUESTS,
        "Too many requests (`limits.requests_per_second`).",
        AppliesTo.AUTHENTICATED,
    ),
    "too_many_streams": ProblemType(
        HTTPStatus.TOO_MANY_REQUESTS,
        "You have too many streams open (`limits.max_streams`).",
    ),
    "too_many_tools": ProblemType(
        HTTPStatus.UNPROCESSABLE_ENTITY, "A chat may have at most `turn.max_tools` tools."
    ),
    "tool_call_unknown": ProblemType(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "There is a result for a call that is not open, or there are two for one call.",
    ),
    "tool_results_missing": ProblemType(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "Some open calls have no result; all must be answered at once.",
    ),
    "unauthorized": ProblemType(
        HTTPStatus.UNAUTHORIZED,
        "There is no token, or it is not valid (any more).",
        AppliesTo.AUTHENTICATED,
    ),
}
"""code → what it stands for."""
