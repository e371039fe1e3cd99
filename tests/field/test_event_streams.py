"""Event streams as servers spell them: what is legal, and what is only common."""

import pytest
from support.field_cases import (
    ANTHROPIC,
    DONE,
    STOP,
    VARIATION,
    FieldCase,
    chunk,
    run_case,
    run_split_case,
    sse,
    text,
)

GOOD = text("Hel", "lo") + STOP + DONE
SPECIFICATION = "whatwg/html: server-sent events"
MESSAGE = {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": []}


def row(name: str, report: str, *pieces: bytes, **more: object) -> FieldCase:
    return FieldCase(
        name=name,
        report=report,
        pieces=pieces,
        text="Hello",
        reason="stop",
        **more,
    )


def with_ids(stream: bytes) -> bytes:
    """Return the stream with an id before each event."""
    return stream.replace(b"data: ", b"id: 1\ndata: ")


CASES = (
    row("plain", SPECIFICATION, GOOD),
    row("retry field", "openai/openai-python#2722", b"retry: 3000\n\n" + GOOD),
    row("event without data", "openai/openai-python#2722", b"event: ping\n\n" + GOOD),
    row(
        "empty data",
        "openai/openai-python#3819",
        text("Hel"),
        b"data:\n\n",
        text("lo") + STOP,
        DONE,
    ),
    row(
        "blank data",
        "openai/openai-python#3819",
        text("Hel"),
        b"data:  \n\n",
        text("lo") + STOP,
        DONE,
    ),
    row("data without a colon", SPECIFICATION, text("Hel"), b"data\n\n", text("lo") + STOP + DONE),
    row(
        "comment after an id",
        "theopenco/llmgateway#2334",
        with_ids(text("Hel")) + b": ping\n\n" + with_ids(text("lo") + STOP) + DONE,
    ),
    row("bare colons", "ggml-org/llama.cpp#24013", b":\n\n:\n\n:\n\n" + GOOD),
    row(
        "comment of OpenRouter",
        "OpenRouterTeam/docs: streaming",
        b": OPENROUTER PROCESSING\n\n" + GOOD,
    ),
    row("byte order mark", SPECIFICATION, b"\xef\xbb\xbf" + GOOD),
    row("CRLF", SPECIFICATION, GOOD.replace(b"\n", b"\r\n")),
    row("CR", SPECIFICATION, GOOD.replace(b"\n", b"\r")),
    row("white space before the stream", VARIATION, b"\n\n   " + GOOD),
    row("no space after the colon", "openai/openai-python#3819", GOOD.replace(b"data: ", b"data:")),
    row("data of several lines", SPECIFICATION, GOOD.replace(b'"choices"', b'\ndata: "choices"')),
    row(
        "event name before chunks", SPECIFICATION, GOOD.replace(b"data:", b"event: message\ndata:")
    ),
    row("unknown fields", SPECIFICATION, GOOD.replace(b"data:", b"trace: {1}\nx\ndata:")),
    row("no blank line after the last event", SPECIFICATION, GOOD.rstrip()),
    row(
        "terminator in quotes",
        "sgl-project/sglang#3912",
        text("Hello") + STOP + b'data: "[DONE]"\n\n',
    ),
    row("text after the terminator", VARIATION, GOOD + b"data: {nonsense\n\n"),
    row("content type of text", VARIATION, GOOD, content_type="text/plain"),
    row("no content type", VARIATION, GOOD, content_type=None),
    row(
        "content type of JSON",
        "microsoft/foundry-dev-tools#195",
        GOOD,
        content_type="application/json",
    ),
    row(
        "Anthropic's events without their names",
        "anthropics/anthropic-sdk-python: _streaming.py",
        sse({"type": "message_start", "message": MESSAGE})
        + sse({"type": "ping"})
        + sse({"type": "content_block_start", "index": 0, "content_block": {"type": "text"}})
        + sse(
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "text_delta", "text": "Hello"},
            }
        )
        + sse({"type": "content_block_stop", "index": 0})
        + sse({"type": "message_delta", "delta": {"stop_reason": "end_turn"}})
        + sse({"type": "message_stop"}),
        kind=ANTHROPIC,
    ),
    row(
        "bytes that are no UTF-8",
        SPECIFICATION,
        text("Hello") + chunk({}, "stop").replace(b'"m"', b'"\xff\xfe"') + DONE,
    ),
)


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_event_stream(case: FieldCase) -> None:
    await run_case(case)


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_event_stream_byte_by_byte(case: FieldCase) -> None:
    await run_split_case(case)
