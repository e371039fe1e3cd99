"""Failures of a turn.

One ``Failure`` feeds the retry decision, the stream's ``error`` event and the columns ``last_error``
and ``last_error_detail``, so that they can never disagree. This module never makes the kind ``crash_loop``:
the statement that reaps chats detects it and writes its message.
"""

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from chatd.domain.sanitize import sanitize_error_text


class FailureKind(StrEnum):
    """A kind of failure, named the same for every provider.

    * `auth`: the provider does not accept the key.
    * `permission`: the key may not use this model.
    * `not_found`: the provider does not know the model.
    * `invalid_request`: the provider rejects the request, or it cannot be sent.
    * `context_limit`: the provider says that the chat is too long for its model.
    * `context_overflow`: the chat cannot be made so short that its model takes it.
    * `content_filter`: the provider blocks the chat by its content filter.
    * `quota`: the account has no quota or credit left.
    * `rate_limit`: the provider limits the rate of requests.
    * `overloaded`: the provider has no capacity just now.
    * `provider_error`: the provider failed, or its answer cannot be read.
    * `network`: the connection to the provider failed.
    * `stream_idle`: the model streamed nothing for `turn.stream_idle_timeout_seconds`.
    * `timeout`: the provider, the call, the turn or the database took too long.
    * `truncated`: the answer ended without a finish reason.
    * `configuration`: the chat's model is no longer configured here, or its provider is misconfigured.
    * `step_limit`: the turn did not end within `turn.max_steps` steps.
    * `tool_loop`: the model made the same calls again and again, and got the same results.
    * `crash_loop`: the chat lost more than `worker.max_recoveries` workers without progress.
    * `panic`: a bug in chatd.
    """

    AUTH = "auth"
    PERMISSION = "permission"
    NOT_FOUND = "not_found"
    INVALID_REQUEST = "invalid_request"
    CONTEXT_LIMIT = "context_limit"
    CONTEXT_OVERFLOW = "context_overflow"
    CONTENT_FILTER = "content_filter"
    QUOTA = "quota"
    RATE_LIMIT = "rate_limit"
    OVERLOADED = "overloaded"
    PROVIDER_ERROR = "provider_error"
    NETWORK = "network"
    STREAM_IDLE = "stream_idle"
    TIMEOUT = "timeout"
    TRUNCATED = "truncated"
    CONFIGURATION = "configuration"
    STEP_LIMIT = "step_limit"
    TOOL_LOOP = "tool_loop"
    CRASH_LOOP = "crash_loop"
    PANIC = "panic"


RETRYABLE = frozenset(
    {
        FailureKind.RATE_LIMIT,
        FailureKind.OVERLOADED,
        FailureKind.PROVIDER_ERROR,
        FailureKind.NETWORK,
        FailureKind.STREAM_IDLE,
        FailureKind.TIMEOUT,
        FailureKind.TRUNCATED,
    }
)
"""The kinds after which another attempt may succeed."""

PANIC_PREFIX = "chat processing panicked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """The reason why a turn did not succeed. ``message`` is for a person.

    ``safe_message`` is the message without foreign text, if it has any: a provider's, or that of an
    unexpected exception. Foreign text may quote the chat, so the log leaves it out.
    """

    kind: FailureKind
    message: str
    provider: str | None = None
    model: str | None = None
    status_code: int | None = None
    retry_after_seconds: float | None = None
    safe_message: str | None = None

    @property
    def loggable(self) -> str:
        """The message without foreign text."""
        return self.message if self.safe_message is None else self.safe_message

    @property
    def retryable(self) -> bool:
        return self.kind in RETRYABLE

    def detail(self, *, attempts: int, at: datetime) -> dict[str, Any]:
        """Return the value of ``last_error_detail``."""
        return {
            "kind": self.kind.value,
            "message": self.message,
            "provider": self.provider,
            "model": self.model,
            "status_code": self.status_code,
            "retryable": self.retryable,
            "attempts": attempts,
            "at": at.isoformat(),
        }


def database_failure() -> Failure:
    """Return the failure of a chat whose statement the database gave up again and again."""
    return Failure(
        kind=FailureKind.TIMEOUT,
        message="The database took too long to read or store this chat, several times in a row.",
    )


def unknown_model_failure() -> Failure:
    """Return the failure of a chat whose model was removed from the configuration."""
    message = "the chat's model is not configured on this server any more"
    return Failure(kind=FailureKind.CONFIGURATION, message=message)


def unknown_word_failure(word: str) -> Failure:
    """Return the failure of a chat with a role or a part type that only a newer version knows."""
    message = f"the chat has content that only a newer version of chatd knows: {sanitize_error_text(word)}"
    return Failure(kind=FailureKind.CONFIGURATION, message=message)


def unreadable_failure() -> Failure:
    """Return the failure of a chat whose row this version cannot read."""
    message = (
        "the chat has data that this version of chatd cannot read; the log of the worker says which"
    )
    return Failure(kind=FailureKind.CONFIGURATION, message=message)


def panic_failure(error: BaseException) -> Failure:
    """Return the failure of a chat whose task raised an unexpected exception."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]  # the message of a group names no cause
    text = ""
    with suppress(Exception):  # an exception may be too broken to be shown
        text = str(error)
    text = text or type(error).__name__
    return Failure(
        kind=FailureKind.PANIC,
        message=f"{PANIC_PREFIX}: {sanitize_error_text(text)}",
        safe_message=f"{PANIC_PREFIX}: {type(error).__name__}",
    )
