"""Every ``code`` that a problem may have: the one list of them.

A code is a promise to programs, so it is added here first: with its status, with the reason why
somebody meets it, and with its reach, which says whose description lists it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus


class Reach(Enum):
    """Which operations may answer with a code."""

    NAMED = auto()
    """Those whose route names it."""
    EVERY = auto()
    GUARDED = auto()
    """All that ask who is calling."""
    BODY = auto()
    """Those that take a body."""
    INPUT = auto()
    """Those that take a body or parameters."""
    REPEATABLE = auto()
    """POST and PATCH."""
    NOWHERE = auto()
    """None: there is no such operation."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a code stands for. ``when`` is a sentence for people."""

    status: HTTPStatus
    when: str
    reach: Reach = Reach.NAMED


REFUSALS: Mapping[str, Refusal] = {
    "bad_request": Refusal(
        HTTPStatus.BAD_REQUEST,
        "This is not HTTP, its URL is longer than 65,535 bytes, or its body is not what its headers say.",
        Reach.EVERY,
    ),
    "body_too_large": Refusal(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "The body is larger than `http.max_body_bytes`.",
        Reach.BODY,
    ),
    "chat_archived": Refusal(HTTPStatus.CONFLICT, "The chat is archived; unarchive it first."),
    "chat_busy": Refusal(HTTPStatus.CONFLICT, "The chat is busy; this needs it to be at rest."),
    "chat_not_found": Refusal(HTTPStatus.NOT_FOUND, "You have no chat with this id."),
    "conflicting_parameters": Refusal(
        HTTPStatus.UNPROCESSABLE_ENTITY, "Two of the parameters exclude each other."
    ),
    "database_away": Refusal(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "The database cannot be reached just now; try again after `Retry-After` seconds.",
        Reach.GUARDED,
    ),
    "family_busy": Refusal(
        HTTPStatus.CONFLICT, "A chat of this family is busy, so none of it was archived."
    ),
    "idempotency_key_reused": Refusal(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "This `Idempotency-Key` was used for another request.",
        Reach.REPEATABLE,
    ),
    "internal": Refusal(
        HTTPStatus.INTERNAL_SERVER_ERROR, "Something went wrong here; it was logged.", Reach.EVERY
    ),
    "invalid_cursor": Refusal(
        HTTPStatus.UNPROCESSABLE_ENTITY, "The `cursor` is not one that this API has given."
    ),
    "invalid_request": Refusal(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "Something in the request is not valid; `errors` says what, and where.",
        Reach.INPUT,
    ),
    "key_set_away": Refusal(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "The identity provider's key set cannot be read just now; try again.",
        Reach.GUARDED,
    ),
    "message_not_found": Refusal(
        HTTPStatus.NOT_FOUND, "The chat's history has no message with this id."
    ),
    "method_not_allowed": Refusal(
        HTTPStatus.METHOD_NOT_ALLOWED, "This path does not take this method.", Reach.NOWHERE
    ),
    "model_not_found": Refusal(
        HTTPStatus.UNPROCESSABLE_ENTITY, "No model of this name is configured."
    ),
    "no_action_required": Refusal(
        HTTPStatus.CONFLICT, "The chat is not waiting for tool results (any more)."
    ),
    "not_a_user_message": Refusal(
        HTTPStatus.UNPROCESSABLE_ENTITY, "Only a user's message can be edited."
    ),
    "not_an_admin": Refusal(
        HTTPStatus.FORBIDDEN,
        "Only an admin may act for another owner (`X-Chatd-Owner`), or see how the process is doing.",
        Reach.GUARDED,
    ),
    "not_found": Refusal(HTTPStatus.NOT_FOUND, "There is nothing at this path.", Reach.NOWHERE),
    "not_ready": Refusal(
        HTTPStatus.SERVICE_UNAVAILABLE, "This process is starting or stopping; others may be ready."
    ),
    "nothing_to_retry": Refusal(
        HTTPStatus.CONFLICT, "The chat's last turn did not fail, so there is nothing to retry."
    ),
    "queue_full": Refusal(
        HTTPStatus.TOO_MANY_REQUESTS,
        "The queue is full (`worker.max_queued_messages`).",
    ),
    "queued_message_not_found": Refusal(
        HTTPStatus.NOT_FOUND,
        "The chat's queue has no message with this id; it may have moved to the history already.",
    ),
    "too_many_chats": Refusal(
        HTTPStatus.TOO_MANY_REQUESTS,
        "Too many of your chats are in flight (`limits.max_chats_in_flight`).",
    ),
    "too_many_labels": Refusal(
        HTTPStatus.UNPROCESSABLE_ENTITY, "A chat may have at most `limits.max_labels` labels."
    ),
    "too_many_parts": Refusal(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "A message may have at most `limits.max_content_parts` parts.",
    ),
    "too_many_requests": Refusal(
        HTTPStatus.TOO_MANY_REQUESTS,
        "Too many requests (`limits.requests_per_second`).",
        Reach.GUARDED,
    ),
    "too_many_streams": Refusal(
        HTTPStatus.TOO_MANY_REQUESTS,
        "You have too many streams open (`limits.max_streams`).",
    ),
    "too_many_tools": Refusal(
        HTTPStatus.UNPROCESSABLE_ENTITY, "A chat may have at most `turn.max_tools` tools."
    ),
    "tool_call_unknown": Refusal(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "There is a result for a call that is not open, or there are two for one call.",
    ),
    "tool_results_missing": Refusal(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "Some open calls have no result; all must be answered at once.",
    ),
    "unauthorized": Refusal(
        HTTPStatus.UNAUTHORIZED,
        "There is no token, or it is not valid (any more).",
        Reach.GUARDED,
    ),
}
"""code → what it stands for."""
