"""The provider adapters over a real connection: truncated, invalid and reset responses, and requests."""

import asyncio
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from support.files import file_part, read_files
from support.model_server import End, ModelResponse, ModelServer, model_server
from support.provider_cases import (
    StreamResult,
    attempt,
    collect,
    error_response,
    message,
    request,
    sdk_provider,
    text_part,
)
from support.wire_formats import WIRE_FORMATS, ModelAnswer, WireFormat

from chatd.domain.failure import Failure, FailureKind
from chatd.domain.message import Role
from chatd.llm.failures.classify import classify
from chatd.llm.provider import PartDelta, ToolSpec
from chatd.llm.vendors.pydantic_ai import PydanticAIProvider

pytestmark = pytest.mark.parametrize("dialect", WIRE_FORMATS, ids=lambda dialect: dialect.kind)

WHOLE = ModelAnswer(
    reasoning=("Hm.",),
    text=("One, ", "two."),
    tool_args=('{"a"', ": 1}"),
    finish_reason="tool_call",
)


async def call_once(server: ModelServer, kind: str) -> StreamResult | Failure:
    """Make one call with a new provider. Return its result or failure."""
    provider = sdk_provider(server, kind)
    try:
        return await attempt(provider, kind)
    finally:
        await provider.aclose()


def cut_positions(events: list[bytes]) -> Iterator[int]:
    """Yield positions at the edges of each event and in its middle."""
    at = 0
    for event in events:
        yield from (at, at + 1, at + len(event) // 2, at + len(event) - 2)
        at += len(event)


@pytest.mark.parametrize("ending", [End.CLOSE, End.CUT, End.RESET])
async def test_stream_cut_anywhere_finishes_only_with_a_reason(
    dialect: WireFormat, ending: End
) -> None:
    events = dialect.events(WHOLE)
    body = b"".join(events)
    reason_end = len(b"".join(events[: len(events) - dialect.trailing_event_count + 1]))
    reason_start = len(b"".join(events[: -dialect.trailing_event_count]))
    async with model_server() as server:
        provider = sdk_provider(server, dialect.kind)
        for cut in (*cut_positions(events), len(body)):
            if reason_start + 20 < cut < reason_end:
                continue  # within the event with the reason, which may or may not be complete
            server.responses = [ModelResponse(pieces=[body[:cut]], end=ending)]
            outcome = await attempt(provider, dialect.kind)
            finished = isinstance(outcome, StreamResult) and len(outcome.finished) == 1
            if ending is not End.RESET:  # a reset may overtake data sent before it
                assert finished == (cut >= reason_end), cut
            if isinstance(outcome, Failure):
                assert outcome.retryable, (cut, outcome)
            elif finished:
                assert outcome.content[-1]["args"] == '{"a": 1}', cut
        await provider.aclose()


async def test_response_that_stalls_after_headers(dialect: WireFormat) -> None:
    for ending in (End.CLOSE, End.CUT, End.WHOLE):
        async with model_server(ModelResponse(pieces=[b""], end=ending)) as server:
            outcome = await call_once(server, dialect.kind)
        assert outcome.retryable if isinstance(outcome, Failure) else not outcome.finished


@pytest.mark.parametrize(
    "garbage",
    [
        b"<html><body>502 Bad Gateway</body></html>",
        b"data: {not json\n\n",
        b"event: message_start\ndata: {not json\n\n",
        b"data: 5\n\ndata: []\n\ndata: null\n\n",
        b'data: {"choices": "x"}\n\n',
        b'data: {"choices": [5]}\n\n',
        b'event: content_block_delta\ndata: {"type": "content_block_delta", "index": 7}\n\n',
        b'event: message_start\ndata: {"type": "message_start", "message": 5}\n\n',
        b'event: response.created\ndata: {"type": "response.created"}\n\n',
        b"\xff\xfe\x00\x01" * 100,
    ],
)
async def test_garbage_is_a_provider_failure(dialect: WireFormat, garbage: bytes) -> None:
    async with model_server(ModelResponse(pieces=[garbage])) as server:
        outcome = await call_once(server, dialect.kind)
    assert outcome.retryable if isinstance(outcome, Failure) else not outcome.finished


async def test_error_within_the_stream_equals_one_before_it(dialect: WireFormat) -> None:
    error = {"type": "overloaded_error", "code": "overloaded_error", "message": "Busy."}
    body = json.dumps({"type": "error", "error": error})
    if dialect.kind == "openai":
        body = json.dumps({**error, "type": "error", "sequence_number": 9, "param": None})
    events = dialect.events(WHOLE)[:3]
    answer = ModelResponse(pieces=[*events, f"event: error\ndata: {body}\n\n".encode()])
    async with model_server(answer) as server:
        outcome = await call_once(server, dialect.kind)
    assert isinstance(outcome, Failure)
    assert outcome.kind in (FailureKind.OVERLOADED, FailureKind.PROVIDER_ERROR)
    assert outcome.retryable


async def test_attempt_makes_one_request(dialect: WireFormat) -> None:
    async with model_server(error_response(dialect.error("No.", "api_error"), 500)) as server:
        outcome = await call_once(server, dialect.kind)
        assert isinstance(outcome, Failure)
        assert len(server.requests) == 1


@pytest.mark.parametrize("sent", [0, 3], ids=["headers only", "mid-stream"])
async def test_cancelling_closes_the_connection(dialect: WireFormat, sent: int) -> None:
    body = b"".join(dialect.events(WHOLE)[:sent])
    async with model_server(ModelResponse(pieces=[body], end=End.HANG)) as server:
        provider = sdk_provider(server, dialect.kind)
        call = asyncio.create_task(collect(provider, request(dialect.kind)))
        await server.hanging.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await server.client_disconnected.wait()  # while the provider and its pool are still open
        await provider.aclose()


async def test_closing_early_closes_the_connection(dialect: WireFormat) -> None:
    body = b"".join(dialect.events(WHOLE)[:-1])
    async with model_server(ModelResponse(pieces=[body], end=End.HANG)) as server:
        provider = sdk_provider(server, dialect.kind)
        async with provider.stream(request(dialect.kind)) as deltas:
            assert isinstance(await anext(deltas), PartDelta)
        await server.client_disconnected.wait()
        await provider.aclose()


async def test_connections_are_reused_and_closed_at_the_end(
    dialect: WireFormat,
) -> None:
    async with model_server(ModelResponse(pieces=[b"".join(dialect.events(WHOLE))])) as server:
        provider = sdk_provider(server, dialect.kind)
        for _ in range(3):
            await collect(provider, request(dialect.kind))
        assert server.connection_count == 1
        assert not server.client_disconnected.is_set()
        await provider.aclose()
        await server.client_disconnected.wait()


async def test_characters_split_between_packets(dialect: WireFormat) -> None:
    words = "é😀ß"
    body = b"".join(dialect.events(ModelAnswer(text=(words,))))
    escaped, raw = json.dumps(words)[1:-1].encode(), words.encode()
    assert escaped in body
    body = body.replace(escaped, raw)
    async with model_server(
        ModelResponse(pieces=[body[at : at + 1] for at in range(len(body))])
    ) as server:
        outcome = await call_once(server, dialect.kind)
    assert isinstance(outcome, StreamResult)
    assert outcome.content[0]["text"] == words


async def test_refused_connection_is_a_network_failure(dialect: WireFormat) -> None:
    with (
        socket.socket() as closed_port
    ):  # bound, so that no other process takes it, but not listening
        closed_port.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed_port.getsockname()[1]}"
        provider = PydanticAIProvider(name="x", kind=dialect.kind, base_url=url, api_key="k")
        with pytest.raises(Exception) as caught:  # noqa: PT011 - the SDK's own class
            await collect(provider, request(dialect.kind))
        await provider.aclose()
    failure = classify(caught.value, provider="acme", model="m1")
    assert failure is not None
    assert (failure.kind, failure.status_code) == (FailureKind.NETWORK, None)
    assert failure.message.startswith("The connection to acme failed")


async def test_invalid_base_url_is_a_configuration_failure(dialect: WireFormat) -> None:
    provider = PydanticAIProvider(name="x", kind=dialect.kind, base_url="nowhere", api_key="k")
    with pytest.raises(Exception) as caught:  # noqa: PT011 - the SDK's own class
        await collect(provider, request(dialect.kind))
    await provider.aclose()
    failure = classify(caught.value, provider="acme", model="m1")
    assert failure is not None
    assert failure.kind is FailureKind.CONFIGURATION


async def test_api_key_is_in_no_failure(dialect: WireFormat) -> None:
    body = dialect.error("Incorrect API key provided: sk-very-secret-key.", "permission_error")
    async with model_server(error_response(body, 403)) as server:
        outcome = await call_once(server, dialect.kind)
    assert isinstance(outcome, Failure)
    assert "sk-very" not in outcome.message
    assert "Incorrect API key" in outcome.message


async def test_unknown_model_setting_is_refused(dialect: WireFormat) -> None:
    async with model_server(ModelResponse(pieces=[b""])) as server:
        provider = sdk_provider(server, dialect.kind)
        with pytest.raises(Exception, match=r"settings\.temprature") as caught:
            await collect(provider, request(dialect.kind, settings={"temprature": 1}))
        await provider.aclose()
        assert server.requests == []
    failure = classify(caught.value, provider="acme", model="m1")
    assert failure is not None
    assert failure.kind is FailureKind.CONFIGURATION


def _text(sent: dict[str, Any]) -> str:
    """Return a request as text."""
    return json.dumps(sent, ensure_ascii=False)


async def test_history_is_sent_with_signed_reasoning(dialect: WireFormat) -> None:
    tool = ToolSpec(name="weather", description="How it is.", parameters={"type": "object"})
    async with model_server(ModelResponse(pieces=[b"".join(dialect.events(WHOLE))])) as server:
        provider = sdk_provider(server, dialect.kind)
        first = await collect(provider, request(dialect.kind, tools=(tool,)))
        result = {"type": "tool-result", "tool_call_id": "call_7", "tool_name": "weather"}
        cut_off = {"type": "reasoning", "text": "never signed"}
        more = (
            message(3, Role.ASSISTANT, *first.content, finish_reason="tool_call"),
            message(4, Role.TOOL, {**result, "result": {"sun": True}}),
            message(5, Role.ASSISTANT, cut_off, text_part("Sunny.")),
            message(6, Role.SYSTEM, text_part("Be kind.")),
            message(
                7,
                Role.USER,
                text_part("And now?"),
                file_part("image/png", b"hi"),
            ),
        )
        await collect(
            provider,
            request(dialect.kind, *more, max_output_tokens=77, read_files=read_files),
        )
        first_request, sent = (_text(sent.body) for sent in server.requests)
        await provider.aclose()
    assert '"weather"' in first_request
    for words in (
        "Be brief.",
        "Well?",
        "One, two.",
        "call_7",
        "sun",
        "Sunny.",
        "Be kind.",
        "And now?",
        "aGk=",
        "77",
    ):
        assert words in sent
    assert "never signed" not in sent
    # A server of Chat Completions gets the reasoning of the current turn only.
    assert ("Hm." in sent) == (dialect.signature is not None)
    assert dialect.signature is None or dialect.signature in sent
