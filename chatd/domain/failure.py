"""Why a turn did not succeed, as one value.

The same ``Failure`` feeds the retry decision, the stream's ``error`` event and the columns
``last_error`` and ``last_error_detail``, so that they can never disagree. One kind never passes here:
``crash_loop`` is found by the statement that reaps, and said there.
"""

import math
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class FailureKind(StrEnum):
    """What went wrong, in words that mean the same for every provider.

    * `auth`: the provider does not accept the key.
    * `permission`: the key may not use this model.
    * `not_found`: the provider does not know the model.
    * `invalid_request`: the provider rejects the request, or it cannot be sent.
    * `context_limit`: the chat is too long for its model.
    * `content_filter`: the provider blocks the chat by its content filter.
    * `quota`: the account has no quota or credit left.
    * `rate_limit`: the provider limits the rate of requests.
    * `overloaded`: the provider has no capacity just now.
    * `provider_error`: the provider failed, or its answer cannot be read.
    * `network`: the connection to the provider failed.
    * `stream_idle`: the model streamed nothing for `turn.stream_idle_timeout_seconds`.
    * `timeout`: the provider, the call or the turn took too long.
    * `truncated`: the answer ended before its end.
    * `configuration`: the chat's model is not configured here any more, or its provider is so badly.
    * `step_limit`: the turn took `turn.max_steps` steps without an end.
    * `crash_loop`: the chat lost more than `worker.max_recoveries` workers without progress.
    * `panic`: a bug in chatd.
    """

    AUTH = "auth"
    PERMISSION = "permission"
    NOT_FOUND = "not_found"
    INVALID_REQUEST = "invalid_request"
    CONTEXT_LIMIT = "context_limit"
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
"""The kinds that another attempt may cure."""

PANIC_PREFIX = "chat processing panicked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One reason. ``message`` is for a person; ``retry_after_seconds`` is in seconds.

    ``safe_message`` is the message without the words of others, if it has any: a provider's, or those of
    an exception that nobody expected. They may quote the chat, so the log does without them.
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
        """The message, in our words alone."""
        return self.message if self.safe_message is None else self.safe_message

    @property
    def retryable(self) -> bool:
        return self.kind in RETRYABLE

    def detail(self, *, attempts: int, at: datetime) -> dict[str, Any]:
        """The shape of ``last_error_detail``."""
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


def panic_failure(error: BaseException) -> Failure:
    """The reason that is kept when a chat's task raised what nobody expected."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]  # a task group's wrapper says nothing
    text = ""
    with suppress(Exception):  # an exception may be too broken to be shown
        text = str(error)
    text = text or type(error).__name__
    return Failure(
        kind=FailureKind.PANIC,
        message=f"{PANIC_PREFIX}: {sanitize_error_text(text)}",
        safe_message=f"{PANIC_PREFIX}: {type(error).__name__}",
    )


REDACTED = "[redacted]"
"""What stands where a secret was, wherever it is shown or written."""

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_SECRET_PATTERNS = tuple(
    re.compile(pattern, re.IGNORECASE | re.VERBOSE | re.DOTALL)
    for pattern in (
        r"()-----BEGIN\ [A-Z ]*PRIVATE\ KEY-----.*?(?:-----END\ [A-Z ]*-----|\Z)",
        r"""((?:api[-_ ]?key|(?:access|refresh|auth|id)[-_]token|secret|passwd|password|authorization)
             ["']?\s*[:=]\s*["']?(?:(?:bearer|basic)\s+)?)
            [^\s"',;&}]{6,}""",
        r"(\b(?:bearer|basic)\s+)(?=\S*\d)[\w.~+/\-]{8,}=*",
        r"([?&](?:key|token|sig|signature)=)[^&\s\"']+",
        r"(://)[^/\s:@]*:[^/\s@]+(?=@)",
        r"""()\b(?:(?:sk|pk|rk)[-_][\w\-*]{8,} | gh[pousr]_\w{16,} | github_pat_\w{16,}
             | (?:key|tok|hf|glpat)[-_](?=\S*\d)[\w\-]{16,} | xox[a-z]-[\w\-]{8,}
             | AKIA[0-9A-Z]{12,} | AIza[\w\-]{20,} | eyJ[\w\-]{8,}\.[\w\-]{4,}(?:\.[\w\-]*)?)""",
    )
)
"""What looks like a secret. The group is what is kept before it."""

MAX_ERROR_LENGTH = 2_000
"""Characters of an error text that are kept."""
_MAX_SCANNED_LENGTH = 4 * MAX_ERROR_LENGTH
"""Characters of an error text that are searched for secrets; what is further on is dropped."""


def replace_unstorable(text: str) -> str:
    """Replace what neither text nor jsonb can hold: NUL and lone surrogates."""
    return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def sanitize_error_text(text: str) -> str:
    """Make an error text fit to be stored and shown: no secrets, nothing unstorable, bounded."""
    if (
        len(text) > _MAX_SCANNED_LENGTH
    ):  # end at a gap, so that no half of a secret is left unrecognised
        text = text[:_MAX_SCANNED_LENGTH].rpartition(" ")[0] or text[:MAX_ERROR_LENGTH]
    text = replace_unstorable(text)
    for secret in _SECRET_PATTERNS:
        text = secret.sub(rf"\1{REDACTED}", text)
    return text[:MAX_ERROR_LENGTH]


def replace_unstorable_json(value: Any) -> Any:
    """``replace_unstorable`` for every string in a JSON value; numbers JSON does not know become null."""
    match value:
        case str():
            return replace_unstorable(value)
        case float() if not math.isfinite(value):
            return None
        case Mapping():
            return {
                replace_unstorable(str(k)): replace_unstorable_json(v) for k, v in value.items()
            }
        case list() | tuple():
            return [replace_unstorable_json(v) for v in value]
        case _:
            return value
