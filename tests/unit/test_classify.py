"""Classification of exceptions: kinds, wrappers, messages, and bugs that are no failures."""

import asyncio
import json
import socket
import ssl
from datetime import UTC, datetime
from typing import Any

import anthropic
import anyio
import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_ai import exceptions as pai

from chatd.domain.failure import Failure, FailureKind
from chatd.llm.errors import (
    InvalidProviderResponse,
    ProviderConfigError,
    ProviderError,
    UnsupportedContent,
)
from chatd.llm.failures.classify import classify
from chatd.llm.failures.retry_after import MAX_RETRY_AFTER_SECONDS, retry_after

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
REQUEST = httpx2.Request("POST", "https://example.org/v1")


def found(error: BaseException) -> Failure:
    failure = classify(error, provider="acme", model="m1", now=NOW)
    assert failure is not None, repr(error)
    return failure


def answer(status: int, **headers: str) -> httpx2.Response:
    return httpx2.Response(status, request=REQUEST, headers=headers)


def http(
    status: int, message: str = "", code: str | None = None, **more: Any
) -> pai.ModelHTTPError:
    body = {"error": {"message": message, "code": code}}
    return pai.ModelHTTPError(status, "m1", body, provider_error_code=code, **more)


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


K = FailureKind


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (http(400, "temperature is too high"), K.INVALID_REQUEST),
        (http(401), K.AUTH),
        (http(402), K.QUOTA),
        (http(403), K.PERMISSION),
        (http(404), K.NOT_FOUND),
        (http(408), K.TIMEOUT),
        (http(409), K.PROVIDER_ERROR),
        (http(413), K.CONTEXT_LIMIT),
        (http(418), K.INVALID_REQUEST),
        (http(422), K.INVALID_REQUEST),
        (http(429), K.RATE_LIMIT),
        (http(429, code="insufficient_quota"), K.QUOTA),
        (http(429, "You exceeded your current quota, please check your plan."), K.QUOTA),
        (http(403, "The response was stopped by our content policy"), K.CONTENT_FILTER),
        (http(500), K.PROVIDER_ERROR),
        (http(502), K.PROVIDER_ERROR),
        (http(503), K.OVERLOADED),
        (http(504), K.TIMEOUT),
        (http(529), K.OVERLOADED),
        (http(599), K.PROVIDER_ERROR),
        (http(400, code="context_length_exceeded"), K.CONTEXT_LIMIT),
        (http(400, "prompt is too long: 210000 tokens > 200000 maximum"), K.CONTEXT_LIMIT),
        (http(500, "the request exceeds the available context size"), K.CONTEXT_LIMIT),
        (http(400, "Your credit balance is too low to use this API"), K.QUOTA),
        (http(400, code="content_filter"), K.CONTENT_FILTER),
        (http(400, "triggering our content management policy"), K.CONTENT_FILTER),
        (pai.ContentFilterError("no"), K.CONTENT_FILTER),
        (pai.ModelQuotaExceededError("m1", "no"), K.QUOTA),
        (pai.ModelContextWindowExceededError("m1", "no"), K.CONTEXT_LIMIT),
        (pai.ModelConnectionError("m1", "no"), K.NETWORK),
        (pai.ModelTimeoutError("m1", "slow", phase="read"), K.TIMEOUT),
        (pai.ModelTimeoutError("m1", "slow", phase="connect"), K.NETWORK),
        (pai.ModelAPIError("m1", "who knows"), K.PROVIDER_ERROR),
        (pai.UnexpectedModelBehavior("odd"), K.PROVIDER_ERROR),
        (pai.UserError("this model takes no images"), K.INVALID_REQUEST),
        (openai.AuthenticationError("no", response=answer(401), body=None), K.AUTH),
        (
            openai.RateLimitError("no", response=answer(429), body={"code": "insufficient_quota"}),
            K.QUOTA,
        ),
        (openai.APIConnectionError(request=REQUEST), K.NETWORK),
        (caused(openai.APIConnectionError(request=REQUEST), httpx2.ReadError("no")), K.NETWORK),
        (
            caused(openai.APIConnectionError(request=REQUEST), httpx2.InvalidURL("no port")),
            K.CONFIGURATION,
        ),
        (openai.APITimeoutError(request=REQUEST), K.TIMEOUT),
        (openai.OpenAIError("no key"), K.CONFIGURATION),
        (anthropic.PermissionDeniedError("no", response=answer(403), body=None), K.PERMISSION),
        (anthropic.APIStatusError("no", response=answer(529), body=None), K.OVERLOADED),
        (httpx2.ConnectError("refused"), K.NETWORK),
        (httpx2.ReadError("reset"), K.NETWORK),
        (httpx2.RemoteProtocolError("incomplete chunked read"), K.NETWORK),
        (httpx2.ConnectTimeout("slow"), K.NETWORK),
        (httpx2.ReadTimeout("slow"), K.TIMEOUT),
        (httpx2.UnsupportedProtocol("no scheme"), K.CONFIGURATION),
        (httpx2.DecodingError("not gzip"), K.PROVIDER_ERROR),
        (anyio.BrokenResourceError(), K.NETWORK),
        (anyio.EndOfStream(), K.NETWORK),
        (asyncio.IncompleteReadError(b"", 5), K.NETWORK),
        (ConnectionResetError(104, "Connection reset by peer"), K.NETWORK),
        (BrokenPipeError(), K.NETWORK),
        (OSError(101, "Network is unreachable"), K.NETWORK),
        (socket.gaierror(-2, "Name or service not known"), K.NETWORK),
        (ssl.SSLCertVerificationError("certificate verify failed"), K.NETWORK),
        (TimeoutError(), K.TIMEOUT),
        (ProviderError("no", status_code=503), K.OVERLOADED),
        (ProviderError("gave up"), K.PROVIDER_ERROR),
        (InvalidProviderResponse(), K.PROVIDER_ERROR),
        (UnsupportedContent(), K.INVALID_REQUEST),
        (ProviderConfigError("models.x.settings", "no"), K.CONFIGURATION),
    ],
    ids=lambda value: (
        f"{type(value).__name__}-{value}"[:60] if isinstance(value, Exception) else None
    ),
)
def test_kind_of_each_exception(error: Exception, kind: FailureKind) -> None:
    failure = found(error)
    assert failure.kind is kind
    assert (failure.provider, failure.model) == ("acme", "m1")
    assert "acme" in failure.message
    assert failure.message == failure.message.strip()


@pytest.mark.parametrize(
    "error",
    [
        TypeError("bug"),
        AttributeError("bug"),
        ValueError("bug"),
        KeyError("bug"),
        AssertionError(),
        RuntimeError("bug"),
        NotImplementedError(),
        json.JSONDecodeError("bug", "", 0),
        FileNotFoundError(2, "No such file"),
        PermissionError(13, "Permission denied"),
        asyncio.CancelledError(),
        ExceptionGroup("two", [httpx2.ReadError("a"), TypeError("b")]),
    ],
    ids=repr,
)
def test_bugs_are_not_classified(error: BaseException) -> None:
    assert classify(error, provider="acme", model="m1") is None


def _raised(error: BaseException | None, cause: BaseException) -> Exception:
    assert isinstance(error, Exception)
    error.__cause__ = cause
    return error


def test_bug_raised_from_a_provider_error_is_not_classified() -> None:
    error = _raised(TypeError("bug"), httpx2.ReadError("reset"))
    assert classify(error, provider="acme", model="m1") is None


def test_wrapped_exceptions_are_classified_by_their_cause() -> None:
    wrapped = _raised(
        pai.ModelConnectionError("m1", "x"), openai.APIConnectionError(request=REQUEST)
    )
    refused = ConnectionRefusedError(111, "Connection refused")
    _raised(wrapped.__cause__, _raised(httpx2.ConnectError("failed"), refused))
    failure = found(ExceptionGroup("g", [ExceptionGroup("h", [wrapped])]))
    assert failure.kind is FailureKind.NETWORK
    assert failure.message == "The connection to acme failed: Connection refused."


def test_cyclic_causes_end() -> None:
    error = _raised(pai.AgentRunError("a"), pai.AgentRunError("b"))
    _raised(error.__cause__, error)
    assert classify(error, provider="acme", model="m1") is None


def test_message_is_our_sentence_with_a_short_reason() -> None:
    failure = found(http(400, "temperature must be at most 2.\n  See docs."))
    assert failure.message == (
        "acme rejected the request to model m1 (status 400): "
        "temperature must be at most 2. See docs."
    )


def test_long_reason_is_truncated() -> None:
    assert len(found(http(400, "blah " * 10_000)).message) < 300


def test_html_reason_is_dropped() -> None:
    error = pai.ModelHTTPError(502, "m1", "<html><title>Bad Gateway</title></html>")
    assert found(error).message == "acme failed while model m1 was answering (status 502)."


def test_keys_and_organisations_are_redacted() -> None:
    for status in (401, 429, 529):
        assert "org-1" not in found(http(status, "key of org-1")).message
    assert "sk-abcdefgh12" not in found(http(400, "bad key sk-abcdefgh12")).message


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "12"}, 12),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "12", "retry-after-ms": "250"}, 0.25),
        ({"retry-after": "Thu, 01 Jan 2026 12:00:30 GMT"}, 30),
        ({"retry-after": "Thu, 01 Jan 2026 11:00:00 GMT"}, 0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "1e999"}, MAX_RETRY_AFTER_SECONDS),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0.5s"}, 360.5),
        ({"x-ratelimit-remaining-requests": "1", "x-ratelimit-reset-requests": "6m0s"}, None),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "20ms"}, 0.02),
        (
            {
                "anthropic-ratelimit-tokens-remaining": "0",
                "anthropic-ratelimit-tokens-reset": "2026-01-01T12:00:09Z",
            },
            9,
        ),
        (
            {
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "1s",
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-tokens": "2m",
            },
            120,
        ),
    ],
)
def test_retry_after_headers(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, now=NOW) == pytest.approx(seconds)
    response = httpx2.Response(429, request=REQUEST, headers=headers)
    raw = openai.RateLimitError("no", response=response, body=None)
    assert found(raw).retry_after_seconds == pytest.approx(seconds)
    assert found(http(429, headers=headers)).retry_after_seconds == pytest.approx(seconds)


@given(st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms"]), st.text()))
def test_malformed_retry_after_headers_are_ignored(headers: dict[str, str]) -> None:
    wait = retry_after(headers, now=NOW)
    assert wait is None or 0 <= wait <= MAX_RETRY_AFTER_SECONDS
