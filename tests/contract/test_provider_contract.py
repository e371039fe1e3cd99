"""The contract of every provider, the scripted one included."""

import asyncio
import json

import pytest
from support.provider_cases import PROVIDER_CASES, ProviderCase, collect, request
from support.wire_formats import ModelAnswer

from chatd.domain.chat import Usage
from chatd.domain.failure import Failure, FailureKind
from chatd.llm.failures.classify import classify
from chatd.llm.provider import Finished, PartDelta, Provider

pytestmark = pytest.mark.parametrize("subject", PROVIDER_CASES, ids=lambda subject: subject.kind)

USAGE = Usage(input_tokens=11, output_tokens=5)
WORDS = ModelAnswer(text=("Guten ", "Tag", "!"))


async def failure(provider: Provider, kind: str) -> Failure:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - each provider has its own
        await collect(provider, request(kind))
    error = classify(caught.value, provider="acme", model="m1")
    assert error is not None, repr(caught.value)
    return error


async def test_text_deltas_fold_to_the_whole_text(subject: ProviderCase) -> None:
    async with subject.answering(WORDS) as provider:
        result = await collect(provider, request(subject.kind))
    assert [p["text"] for p in result.part_deltas if p.get("text")] == ["Guten ", "Tag", "!"]
    assert [(p["type"], p["text"]) for p in result.content] == [("text", "Guten Tag!")]


async def test_finished_is_last_with_reason_and_usage(subject: ProviderCase) -> None:
    async with subject.answering(WORDS) as provider:
        result = await collect(provider, request(subject.kind))
    assert result.finished == [Finished("stop", USAGE)]
    assert isinstance(result.deltas[-1], Finished)


async def test_finish_reason_tells_stop_from_length(subject: ProviderCase) -> None:
    async with subject.answering(ModelAnswer(text=("Guten",), finish_reason="length")) as provider:
        result = await collect(provider, request(subject.kind))
    assert [finished.reason for finished in result.finished] == ["length"]


async def test_reasoning_precedes_the_text_as_its_own_part(subject: ProviderCase) -> None:
    async with subject.answering(
        ModelAnswer(reasoning=("Hm, ", "well"), text=("So.",))
    ) as provider:
        result = await collect(provider, request(subject.kind))
    assert [(p["type"], p["text"]) for p in result.content] == [
        ("reasoning", "Hm, well"),
        ("text", "So."),
    ]


async def test_tool_call_deltas_fold_to_its_arguments(subject: ProviderCase) -> None:
    answer = ModelAnswer(
        text=("Look: ",), tool_args=('{"ci', 'ty": "Bo', 'nn"}'), finish_reason="tool_call"
    )
    async with subject.answering(answer) as provider:
        result = await collect(provider, request(subject.kind))
    _, call = result.content
    assert (call["type"], call["tool_call_id"], call["tool_name"]) == (
        "tool-call",
        "call_7",
        "weather",
    )
    assert json.loads(call["args"]) == {"city": "Bonn"}
    assert [finished.reason for finished in result.finished] == ["tool_call"]


async def test_unstorable_text_passes_through(subject: ProviderCase) -> None:
    """The worker cleans text once (``replace_unstorable_json``). A provider neither cleans nor fails."""
    async with subject.answering(ModelAnswer(text=("nul\x00", "half \ud83d", "é😀"))) as provider:
        result = await collect(provider, request(subject.kind))
    assert result.content[0]["text"] == "nul\x00half \ud83dé😀"


async def test_truncated_stream_is_not_finished(subject: ProviderCase) -> None:
    async with subject.answering(WORDS, stream_end="cut") as provider:
        result = await collect(provider, request(subject.kind))
    assert result.finished == []
    assert result.content[0]["text"] == "Guten Tag!"


async def test_reset_connection_is_a_network_failure(subject: ProviderCase) -> None:
    async with subject.answering(WORDS, stream_end="reset") as provider:
        error = await failure(provider, subject.kind)
    assert (error.kind, error.retryable) == (FailureKind.NETWORK, True)


async def test_idle_stream_waits_until_cancelled(subject: ProviderCase) -> None:
    received: asyncio.Queue[object] = asyncio.Queue()

    async def listen_on(provider: Provider) -> None:
        async with provider.stream(request(subject.kind)) as deltas:
            async for delta in deltas:
                received.put_nowait(delta)

    async with (
        subject.answering(WORDS, stream_end="hang") as provider,
        asyncio.TaskGroup() as tasks,
    ):
        listener = tasks.create_task(listen_on(provider))
        words = ""
        while words != "Guten Tag!":
            delta = await received.get()
            assert isinstance(delta, PartDelta)
            words += delta.part.get("text", "")
        listener.cancel()
    assert listener.cancelled()


async def test_closing_early_is_no_error(subject: ProviderCase) -> None:
    async with (
        subject.answering(WORDS, stream_end="hang") as provider,
        provider.stream(request(subject.kind)) as deltas,
    ):
        assert isinstance(await anext(deltas), PartDelta)


@pytest.mark.parametrize(
    ("status", "code", "kind", "retryable"),
    [
        (400, "invalid_request_error", FailureKind.INVALID_REQUEST, False),
        (401, "authentication_error", FailureKind.AUTH, False),
        (403, "permission_error", FailureKind.PERMISSION, False),
        (404, "not_found_error", FailureKind.NOT_FOUND, False),
        (413, "request_too_large", FailureKind.CONTEXT_LIMIT, False),
        (429, "rate_limit_error", FailureKind.RATE_LIMIT, True),
        (429, "insufficient_quota", FailureKind.QUOTA, False),
        (500, "api_error", FailureKind.PROVIDER_ERROR, True),
        (503, "whatever", FailureKind.OVERLOADED, True),
        (529, "overloaded_error", FailureKind.OVERLOADED, True),
    ],
)
async def test_error_status_becomes_a_failure(
    subject: ProviderCase, status: int, code: str, kind: FailureKind, retryable: bool
) -> None:
    async with subject.failing(status, code) as provider:
        error = await failure(provider, subject.kind)
    assert (error.kind, error.retryable, error.status_code) == (kind, retryable, status)
    assert (error.provider, error.model) == ("acme", "m1")
    assert "acme" in error.message
    assert str(status) in error.message


async def test_retry_after_is_kept(subject: ProviderCase) -> None:
    async with subject.failing(429, "rate_limit_error", retry_after="7") as provider:
        error = await failure(provider, subject.kind)
    assert error.retry_after_seconds == 7


async def test_provider_takes_repeated_and_concurrent_calls(subject: ProviderCase) -> None:
    async with subject.answering(WORDS) as provider:
        await provider.warm()
        several = await asyncio.gather(
            *(collect(provider, request(subject.kind)) for _ in range(5))
        )
    assert {result.content[0]["text"] for result in several} == {"Guten Tag!"}
    assert all(len(result.finished) == 1 for result in several)
