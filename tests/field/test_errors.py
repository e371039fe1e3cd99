"""Errors in a response with status 200, and responses that are no stream at all."""

import json

import pytest
from support.field_cases import (
    ANTHROPIC,
    CHAT,
    RESPONSES,
    STOP,
    VARIATION,
    FieldCase,
    call,
    chunk,
    run_case,
    sse,
    text,
)
from support.model_server import End, ModelResponse
from support.provider_cases import StreamResult

from chatd.domain.failure import Failure, FailureKind
from chatd.llm.vendors.wire.http import MAX_ERROR_BYTES

HELLO = text("Hel", "lo")
QUOTA = {"error": {"code": "insufficient_quota", "message": "You have no credit."}}


def row(
    name: str, report: str, body: bytes, failure: FailureKind, words: str = "", **more: object
) -> FieldCase:
    return FieldCase(name=name, report=report, pieces=[body], failure=failure, words=words, **more)


def json_row(
    name: str, report: str, body: object, failure: FailureKind, words: str = "", **more: object
) -> FieldCase:
    more = {"content_type": "application/json", **more}
    return row(name, report, json.dumps(body).encode(), failure, words, **more)


K = FailureKind
STREAM_CASES = [
    row(
        "error event",
        "openai/openai-python#3819",
        HELLO + sse({"message": "Out of luck."}, "error"),
        K.PROVIDER_ERROR,
        "out of luck",
    ),
    row(
        "error event of text",
        "openai/openai-python#3819",
        HELLO + sse("Out of luck.", "error"),
        K.PROVIDER_ERROR,
        "out of luck",
    ),
    row("error in data", "ggml-org/llama.cpp#16109", HELLO + sse(QUOTA), K.QUOTA, "no credit"),
    row(
        "error field",
        "ggml-org/llama.cpp#16109",
        HELLO + b'error: {"code":500,"message":"Slot lost."}\n\n',
        K.PROVIDER_ERROR,
        "slot lost",
    ),
    row(
        "bare JSON in a stream",
        "lemonade-sdk/lemonade#2975",
        HELLO + b'{"error":{"type":"exceed_context_size_error","message":"6009 tokens"}}\n',
        K.CONTEXT_LIMIT,
    ),
    row(
        "text for an error",
        "ollama/ollama#4357",
        HELLO + sse({"error": "model requires more memory"}),
        K.PROVIDER_ERROR,
        "more memory",
    ),
    row(
        "status as a code",
        "OpenRouter docs: errors",
        HELLO + sse({"error": {"code": 429, "message": "x"}}),
        K.RATE_LIMIT,
    ),
    row(
        "status in text",
        "OpenRouter docs: errors",
        HELLO + sse({"error": {"code": "503", "message": "x"}}),
        K.OVERLOADED,
    ),
    row(
        "error with a choice",
        "OpenRouter docs: errors",
        HELLO + chunk({"content": ""}, "error", error={"code": 502, "message": "Upstream."}),
        K.PROVIDER_ERROR,
        "upstream",
    ),
    row(
        "object of type error",
        VARIATION,
        HELLO + sse({"object": "error", "message": "Bad.", "code": 400}),
        K.INVALID_REQUEST,
        "bad",
    ),
    row(
        "detail",
        "FastAPI docs",
        HELLO + sse({"detail": "Not ready."}),
        K.PROVIDER_ERROR,
        "not ready",
    ),
    row("error without words", "openai docs", HELLO + sse({"error": {"x": 1}}), K.PROVIDER_ERROR),
    row("error as a number", VARIATION, HELLO + sse({"error": 5}), K.PROVIDER_ERROR),
    row(
        "an event that is no JSON",
        VARIATION,
        HELLO + sse("{oops"),
        K.PROVIDER_ERROR,
        "could not be read",
    ),
    row("an event that is a number", VARIATION, HELLO + sse("5"), K.PROVIDER_ERROR),
    row(
        "a list with an error",
        "Gemini docs: errors",
        b'[{"error":{"code":429,"status":"RESOURCE_EXHAUSTED"}}]',
        K.RATE_LIMIT,
    ),
    row("content that is no text", "openai docs", chunk({"content": 5}) + STOP, K.PROVIDER_ERROR),
    row(
        "content that is an object",
        "openai docs",
        chunk({"content": {"a": 1}}) + STOP,
        K.PROVIDER_ERROR,
    ),
    row("choices that are no list", "openai docs", sse({"choices": "x"}), K.PROVIDER_ERROR),
    row("a deep value", "openai docs", sse("[" * 100_000), K.PROVIDER_ERROR),
    row(
        "Anthropic: overloaded",
        "anthropics/anthropic-sdk-python: errors",
        sse(
            {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
            "error",
        ),
        K.OVERLOADED,
        kind=ANTHROPIC,
    ),
    row(
        "Responses: error event",
        "openai docs: responses",
        sse({"type": "error", "code": "rate_limit_exceeded", "message": "Slow."}, "error"),
        K.RATE_LIMIT,
        kind=RESPONSES,
    ),
    row(
        "Responses: nested error event",
        "openai docs: responses",
        sse({"type": "error", "error": {"code": "insufficient_quota", "message": "x"}}, "error"),
        K.QUOTA,
        kind=RESPONSES,
    ),
]

BODY_CASES = [
    json_row("quota", "openai/openai-python#3819", QUOTA, K.QUOTA, "no credit"),
    json_row("quota, to Anthropic", "openai/openai-python#3819", QUOTA, K.QUOTA, kind=ANTHROPIC),
    json_row(
        "quota, to the Responses API", "openai/openai-python#3819", QUOTA, K.QUOTA, kind=RESPONSES
    ),
    json_row(
        "quota in a stream's type",
        VARIATION,
        QUOTA,
        K.QUOTA,
        content_type="text/event-stream",
    ),
    json_row(
        "text", "ollama/ollama#4357", {"error": "model not loaded"}, K.PROVIDER_ERROR, "not loaded"
    ),
    json_row("detail", "FastAPI docs", {"detail": "Not ready."}, K.PROVIDER_ERROR, "not ready"),
    json_row(
        "a key that is wrong",
        "OpenRouter docs: errors",
        {"error": {"code": 401, "message": "No."}},
        K.AUTH,
    ),
    json_row(
        "an object nobody knows", "openai docs", {"ok": True}, K.PROVIDER_ERROR, "could not be read"
    ),
    json_row("a list", "openai docs", [], K.PROVIDER_ERROR, "could not be read"),
    row(
        "cut JSON",
        "openai docs",
        b'{"error":{"code"',
        K.PROVIDER_ERROR,
        content_type="application/json",
    ),
    row(
        "a log-in page",
        "gateway",
        b"<!DOCTYPE html><title>Log in</title>",
        K.PROVIDER_ERROR,
        "an html page",
        content_type="text/html",
    ),
    row("a page in a stream's type", "gateway", b"\n <html>", K.PROVIDER_ERROR, "an html page"),
    row(
        "a page to Anthropic",
        "gateway",
        b"<html>",
        K.PROVIDER_ERROR,
        "an html page",
        kind=ANTHROPIC,
    ),
    row(
        "a page with an error status",
        "gateway",
        b"<html>502",
        K.PROVIDER_ERROR,
        "status 502",
        status=502,
        content_type="text/html",
    ),
]


@pytest.mark.parametrize("case", [*STREAM_CASES, *BODY_CASES], ids=str)
async def test_error(case: FieldCase) -> None:
    await run_case(case)


async def test_error_after_the_end_costs_no_answer() -> None:
    outcome = await call(ModelResponse(pieces=[HELLO + STOP + sse(QUOTA)]), CHAT)
    assert isinstance(outcome, StreamResult)
    assert [finished.reason for finished in outcome.finished] == ["stop"]


@pytest.mark.parametrize("ending", [End.CUT, End.RESET], ids=lambda end: end.name)
async def test_broken_connection_after_the_end_costs_no_answer(ending: End) -> None:
    outcome = await call(ModelResponse(pieces=[HELLO, STOP], end=ending), CHAT)
    if isinstance(outcome, Failure):  # a reset may overtake what was sent before it
        assert ending is End.RESET
    else:
        assert [finished.reason for finished in outcome.finished] == ["stop"]


async def test_error_body_without_an_end_is_read_up_to_a_bound() -> None:
    body = [b'{"error":{"message":"' + b"x" * 65536] * (MAX_ERROR_BYTES // 65536 + 4)
    response = ModelResponse(pieces=body, status=400, content_type="application/json", end=End.HANG)
    outcome = await call(response, CHAT)
    assert isinstance(outcome, Failure)
    assert outcome.kind is FailureKind.INVALID_REQUEST
