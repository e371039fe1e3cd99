"""Classification of exceptions: an exception and its causes → a ``Failure``, or None for a bug."""

import errno
import socket
import ssl
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from http import HTTPStatus

from chatd.domain.failure import Failure, FailureKind
from chatd.llm.errors import (
    InvalidProviderResponse,
    ProviderConfigError,
    ProviderError,
    UnsupportedContent,
)
from chatd.llm.failures.messages import (
    error_body,
    failure_sentence,
    provider_reason,
    sentence_with_reason,
)
from chatd.llm.failures.retry_after import retry_after
from chatd.llm.failures.table import LIBRARIES, kind_for_exception, kind_for_response

_UNREACHABLE_ERRNOS = frozenset(
    {
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENETRESET,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.EADDRNOTAVAIL,
    }
)
_SPECIFIC_KINDS = frozenset({FailureKind.QUOTA, FailureKind.CONTEXT_LIMIT, FailureKind.OVERLOADED})
"""Kinds that a library derived from the provider's text, which is more precise than the status."""
_NETWORK_ERRORS = (ConnectionError, ssl.SSLError, socket.gaierror, TimeoutError)


def classify(
    error: BaseException, *, provider: str, model: str, now: datetime | None = None
) -> Failure | None:
    """Return the failure that an exception stands for. None: it is no failure of a provider.

    ``provider`` and ``model`` are names for a person. Dates in headers are compared with ``now``. Wrappers
    are followed: groups of one, and the ``__cause__`` of exceptions of a library, never of our own ones or
    Python's.
    """
    chain = list(_cause_chain(error))
    kinds = [kind for e in chain if (kind := _kind(e)) is not None]
    if not kinds:
        return None
    kind = kinds[0]
    if kind is FailureKind.NETWORK and FailureKind.CONFIGURATION in kinds:
        kind = FailureKind.CONFIGURATION  # "could not connect" because the address is invalid
    status = next((s for e in chain if (s := _status(e)) is not None), None)
    sentence = failure_sentence(kind, provider=provider, model=model, status=status)
    # Configuration errors and network errors of the system hold no text of the provider.
    is_own_text = (
        isinstance(chain[0], ProviderConfigError | UnsupportedContent)
        or kind is FailureKind.NETWORK
    )
    return Failure(
        kind=kind,
        message=sentence_with_reason(sentence, chain, kind),
        safe_message=None if is_own_text else f"{sentence}.",
        provider=provider,
        model=model,
        status_code=status,
        retry_after_seconds=_find_retry_after(chain, now=now or datetime.now(UTC)),
    )


def _cause_chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the exception, then the causes that a library wrapped."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        if isinstance(link, BaseExceptionGroup):
            link = link.exceptions[0] if len(link.exceptions) == 1 else None
            continue
        yield link
        link = (
            link.__cause__
            if _is_library_error(link) or isinstance(link, OSError | InvalidProviderResponse)
            else None
        )


def _is_library_error(error: BaseException) -> bool:
    return any(cls.__module__.partition(".")[0] in LIBRARIES for cls in type(error).__mro__)


def _kind(error: BaseException) -> FailureKind | None:
    match error:
        case ProviderConfigError():
            return FailureKind.CONFIGURATION
        case UnsupportedContent():
            return FailureKind.INVALID_REQUEST
        case InvalidProviderResponse():
            return FailureKind.PROVIDER_ERROR
        case TimeoutError():
            return FailureKind.TIMEOUT
        case OSError():
            network = isinstance(error, _NETWORK_ERRORS) or error.errno in _UNREACHABLE_ERRNOS
            return FailureKind.NETWORK if network else kind_for_exception(error)
        case ProviderError():
            known: FailureKind | None = FailureKind.PROVIDER_ERROR
        case _:
            known = kind_for_exception(error)
    if known is None or known in _SPECIFIC_KINDS:
        return known
    if getattr(error, "phase", None) == "connect":
        return FailureKind.NETWORK
    if known is not FailureKind.PROVIDER_ERROR and _status(error) is None:
        return known
    return kind_for_response(
        status=_status(error), codes=_codes(error), text=provider_reason(error)
    )


def _status(error: BaseException) -> int | None:
    for holder in (error, getattr(error, "response", None)):
        status = getattr(holder, "status_code", None)
        if isinstance(status, int):
            return status if status >= HTTPStatus.BAD_REQUEST else None
    return None


def _codes(error: BaseException) -> tuple[str | None, ...]:
    body = error_body(error)
    candidates = [
        getattr(error, name, None) for name in ("provider_error_code", "provider_error_type")
    ]
    candidates += [getattr(error, "code", None), body.get("code"), body.get("type")]
    return tuple(code for code in candidates if isinstance(code, str))


def _find_retry_after(chain: list[BaseException], *, now: datetime) -> float | None:
    for error in chain:
        response = getattr(error, "response", None)
        for headers in (getattr(error, "headers", None), getattr(response, "headers", None)):
            if isinstance(headers, Mapping):
                wait = retry_after(headers, now=now)
                if wait is not None:
                    return wait
    return None
