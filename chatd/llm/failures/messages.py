"""Messages of failures: our sentence, with at most a short, redacted reason of the provider."""

from collections.abc import Mapping, Sequence
from typing import Any

from chatd.domain.failure import FailureKind
from chatd.domain.sanitize import sanitize_error_text
from chatd.llm.errors import (
    InvalidProviderResponse,
    ProviderConfigError,
    ProviderError,
    UnsupportedContent,
)
from chatd.llm.failures.table import kind_for_exception

MAX_REASON_LENGTH = 200
"""Longest reason of a provider, in characters."""

_SENTENCES: dict[FailureKind, str] = {
    FailureKind.AUTH: "{provider} did not accept the API key",
    FailureKind.PERMISSION: "{provider} does not let this key use {model}",
    FailureKind.NOT_FOUND: "{provider} does not know {model}",
    FailureKind.INVALID_REQUEST: "{provider} rejected the request to {model}",
    FailureKind.CONTEXT_LIMIT: "This chat is too long for {model} of {provider}",
    FailureKind.CONTENT_FILTER: "{provider} blocked this chat by its content filter",
    FailureKind.QUOTA: "The account at {provider} has no quota or credit left",
    FailureKind.RATE_LIMIT: "{provider} is limiting the rate of requests to {model}",
    FailureKind.OVERLOADED: "{provider} is overloaded and could not serve {model}",
    FailureKind.PROVIDER_ERROR: "{provider} failed while {model} was answering",
    FailureKind.NETWORK: "The connection to {provider} failed",
    FailureKind.TIMEOUT: "{provider} took too long to answer for {model}",
    FailureKind.CONFIGURATION: "{provider} is not configured correctly",
}
_UNREADABLE_SENTENCE = "{provider} sent an answer of {model} that could not be read"
_OWN_ERRORS = (ProviderError, InvalidProviderResponse, ProviderConfigError, UnsupportedContent)
_KINDS_WITHOUT_REASON = frozenset(
    {FailureKind.AUTH, FailureKind.RATE_LIMIT, FailureKind.OVERLOADED}
)
"""Kinds whose reason is dropped: providers name keys and organisations in it."""


def error_body(error: BaseException) -> Mapping[str, Any]:
    """Return the object that describes the error in the provider's response."""
    body = getattr(error, "body", None)
    if isinstance(body, Mapping) and isinstance(body.get("error"), Mapping):
        body = body["error"]
    return body if isinstance(body, Mapping) else {}


def provider_reason(error: BaseException) -> str:
    """Return the provider's own reason, redacted and shortened. Empty: none that a person may see."""
    reason = _raw_provider_reason(error)
    if "<" in reason[:MAX_REASON_LENGTH]:
        return ""  # an HTML page of a gateway
    reason = " ".join(sanitize_error_text(reason).split()).rstrip(".")
    return reason if len(reason) <= MAX_REASON_LENGTH else reason[: MAX_REASON_LENGTH - 1] + "…"


def _raw_provider_reason(error: BaseException) -> str:
    body = getattr(error, "body", None)
    for text in (error_body(error).get("message"), body):
        if isinstance(text, str):
            return text
    if isinstance(error, OSError):
        return getattr(error, "verify_message", "") or error.strerror or str(error)
    misused = kind_for_exception(error) is FailureKind.INVALID_REQUEST and body is None
    if isinstance(error, InvalidProviderResponse) and str(error) == error.description():
        return ""  # the sentence says it
    if misused or isinstance(error, _OWN_ERRORS):
        return str(error)
    return ""


def failure_sentence(kind: FailureKind, *, provider: str, model: str, status: int | None) -> str:
    """Return what happened, in our words alone."""
    unreadable = kind is FailureKind.PROVIDER_ERROR and status is None
    sentence = _UNREADABLE_SENTENCE if unreadable else _SENTENCES[kind]
    text = sentence.format(provider=provider, model=f"model {model}")
    if status is not None:
        text += f" (status {status})"
    return sanitize_error_text(text)


def sentence_with_reason(sentence: str, chain: Sequence[BaseException], kind: FailureKind) -> str:
    """Return the sentence, followed by the provider's reason if a person may see it."""
    text = sentence
    reasons = [reason for error in chain if (reason := provider_reason(error))]
    if reasons and kind not in _KINDS_WITHOUT_REASON:
        text += f": {reasons[-1] if kind is FailureKind.NETWORK else reasons[0]}"
    return sanitize_error_text(text) + ("" if text.endswith("…") else ".")
