"""Tables of failure kinds by status, code, phrase and exception class.

Sources: https://platform.openai.com/docs/guides/error-codes,
https://docs.anthropic.com/en/api/errors, and what compatible servers (vLLM, llama.cpp, gateways)
were seen to send.
"""

from http import HTTPStatus

from chatd.domain.failure import FailureKind as Kind
from chatd.llm.vendors import PROVIDER_KINDS

_CODE_KINDS: dict[str, Kind] = {
    "insufficient_quota": Kind.QUOTA,
    "billing_error": Kind.QUOTA,
    "billing_hard_limit_reached": Kind.QUOTA,
    "credit_balance_exhausted": Kind.QUOTA,
    "exceeded_current_quota_error": Kind.QUOTA,
    "organization_spend_limit_exceeded": Kind.QUOTA,
    "project_spend_limit_exceeded": Kind.QUOTA,
    "organization_usage_limit_exceeded": Kind.QUOTA,
    "context_length_exceeded": Kind.CONTEXT_LIMIT,
    "exceed_context_size_error": Kind.CONTEXT_LIMIT,
    "request_too_large": Kind.CONTEXT_LIMIT,
    "content_filter": Kind.CONTENT_FILTER,
    "content_policy_violation": Kind.CONTENT_FILTER,
    "invalid_api_key": Kind.AUTH,
    "authentication_error": Kind.AUTH,
    "permission_error": Kind.PERMISSION,
    "permission_denied": Kind.PERMISSION,
    "model_not_found": Kind.NOT_FOUND,
    "not_found_error": Kind.NOT_FOUND,
    "rate_limit_exceeded": Kind.RATE_LIMIT,
    "rate_limit_error": Kind.RATE_LIMIT,
    "too_many_requests": Kind.RATE_LIMIT,
    "overloaded": Kind.OVERLOADED,
    "overloaded_error": Kind.OVERLOADED,
    "server_is_overloaded": Kind.OVERLOADED,
    "service_unavailable": Kind.OVERLOADED,
    "service_unavailable_error": Kind.OVERLOADED,
    "timeout_error": Kind.TIMEOUT,
}

_PHRASE_KINDS: tuple[tuple[str, Kind], ...] = (
    ("maximum context length", Kind.CONTEXT_LIMIT),
    ("context window", Kind.CONTEXT_LIMIT),
    ("context size", Kind.CONTEXT_LIMIT),
    ("prompt is too long", Kind.CONTEXT_LIMIT),
    ("input is too long", Kind.CONTEXT_LIMIT),
    ("reduce the length of the messages", Kind.CONTEXT_LIMIT),
    ("content filter", Kind.CONTENT_FILTER),
    ("content management policy", Kind.CONTENT_FILTER),
    ("content policy", Kind.CONTENT_FILTER),
    ("credit balance is too low", Kind.QUOTA),
    ("exceeded your current quota", Kind.QUOTA),
    ("insufficient balance", Kind.QUOTA),
    ("overloaded", Kind.OVERLOADED),
    ("over capacity", Kind.OVERLOADED),
)
"""Phrases of providers that send one code for everything. Used if the code is not specific."""

_VAGUE_CODE_KINDS: dict[str, Kind] = {
    "invalid_request_error": Kind.INVALID_REQUEST,
    "server_error": Kind.PROVIDER_ERROR,
    "api_error": Kind.PROVIDER_ERROR,
    "internal_server_error": Kind.PROVIDER_ERROR,
}

_STATUS_KINDS: dict[int, Kind] = {
    401: Kind.AUTH,
    402: Kind.QUOTA,
    403: Kind.PERMISSION,
    404: Kind.NOT_FOUND,
    408: Kind.TIMEOUT,
    409: Kind.PROVIDER_ERROR,  # OpenAI documents it as temporary, and both SDKs retry it
    413: Kind.CONTEXT_LIMIT,
    425: Kind.PROVIDER_ERROR,
    429: Kind.RATE_LIMIT,
    503: Kind.OVERLOADED,
    504: Kind.TIMEOUT,
    524: Kind.TIMEOUT,
    529: Kind.OVERLOADED,
}

EXCEPTION_KINDS: dict[tuple[str, str], Kind] = {
    ("pydantic_ai", "ModelContextWindowExceededError"): Kind.CONTEXT_LIMIT,
    ("pydantic_ai", "ModelQuotaExceededError"): Kind.QUOTA,
    ("pydantic_ai", "ModelOverloadedError"): Kind.OVERLOADED,
    ("pydantic_ai", "ModelUnavailableError"): Kind.OVERLOADED,
    ("pydantic_ai", "ModelRateLimitError"): Kind.RATE_LIMIT,
    ("pydantic_ai", "ModelAuthenticationError"): Kind.AUTH,
    ("pydantic_ai", "ModelNotFoundError"): Kind.NOT_FOUND,
    ("pydantic_ai", "ModelRequestRejectedError"): Kind.INVALID_REQUEST,
    ("pydantic_ai", "ModelRequestTimeout"): Kind.TIMEOUT,
    ("pydantic_ai", "ModelTimeoutError"): Kind.TIMEOUT,
    ("pydantic_ai", "ModelConnectionError"): Kind.NETWORK,
    ("pydantic_ai", "ModelAPIError"): Kind.PROVIDER_ERROR,
    ("pydantic_ai", "ContentFilterError"): Kind.CONTENT_FILTER,
    ("pydantic_ai", "UnexpectedModelBehavior"): Kind.PROVIDER_ERROR,
    ("pydantic_ai", "UserError"): Kind.INVALID_REQUEST,
    ("anyio", "BrokenResourceError"): Kind.NETWORK,
    ("anyio", "ClosedResourceError"): Kind.NETWORK,
    ("anyio", "EndOfStream"): Kind.NETWORK,
    ("anyio", "IncompleteRead"): Kind.NETWORK,
    ("asyncio", "IncompleteReadError"): Kind.NETWORK,
    ("h11", "ProtocolError"): Kind.NETWORK,
    **{
        (kind.sdk, name): failure
        for kind in PROVIDER_KINDS.values()
        for name, failure in kind.sdk_errors.items()
    },
    **{
        (http, name): kind
        for http in ("httpx2", "httpcore2", "httpx", "httpcore")
        for name, kind in {
            "ConnectTimeout": Kind.NETWORK,
            "PoolTimeout": Kind.NETWORK,
            "TimeoutException": Kind.TIMEOUT,
            "UnsupportedProtocol": Kind.CONFIGURATION,
            "InvalidURL": Kind.CONFIGURATION,
            "TooManyRedirects": Kind.CONFIGURATION,
            "DecodingError": Kind.PROVIDER_ERROR,
            "ProtocolError": Kind.NETWORK,
            "NetworkError": Kind.NETWORK,
            "HTTPError": Kind.NETWORK,
            "StreamError": Kind.NETWORK,
        }.items()
    },
}
"""Kinds by library and class name, so that no library has to be imported to compare."""

LIBRARIES = frozenset(library for library, _ in EXCEPTION_KINDS)


def kind_for_response(*, status: int | None, codes: tuple[str | None, ...], text: str) -> Kind:
    """Return the kind of an error response, from its codes, its text and its status."""
    for code in codes:
        if code in _CODE_KINDS:
            return _CODE_KINDS[code]
    lowered = text.lower()
    for phrase, kind in _PHRASE_KINDS:
        if phrase in lowered:
            return kind
    if status in _STATUS_KINDS:
        return _STATUS_KINDS[status]
    for code in codes:
        if code in _VAGUE_CODE_KINDS:
            return _VAGUE_CODE_KINDS[code]
    server_errors = HTTPStatus.INTERNAL_SERVER_ERROR
    rejected = status is not None and HTTPStatus.BAD_REQUEST <= status < server_errors
    return Kind.INVALID_REQUEST if rejected else Kind.PROVIDER_ERROR


def kind_for_exception(error: BaseException) -> Kind | None:
    """Return the kind of the nearest known class of an exception. None: it is not known."""
    for cls in type(error).__mro__:
        kind = EXCEPTION_KINDS.get((cls.__module__.partition(".")[0], cls.__name__))
        if kind is not None:
            return kind
    return None
