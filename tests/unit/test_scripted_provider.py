"""Scripted provider: its actions, its conditions and its checkpoints."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from chatd.domain.failure import FailureKind
from chatd.domain.message import Message, Role, fold, text_of
from chatd.domain.outcomes import CallPurpose
from chatd.llm.errors import ProviderConfigError, ProviderError
from chatd.llm.failures.classify import classify
from chatd.llm.provider import Delta, Finished, ModelRequest, PartDelta
from chatd.llm.scripted.provider import ScriptedProvider
from chatd.llm.scripted.script import DEFAULT_SCRIPT, Script, parse_script

CHAT = UUID(int=1)


def message(number: int, role: Role, words: str) -> Message:
    return Message(
        id=number,
        chat_id=CHAT,
        version=number,
        role=role,
        content=({"type": "text", "text": words},),
        model_config_id=None,
        usage=None,
        finish_reason=None,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def asked(*words: str) -> ModelRequest:
    """Return a request whose history alternates between user and model, the user first and last."""
    roles = (Role.USER, Role.ASSISTANT)
    messages = (message(n + 1, roles[n % 2], said) for n, said in enumerate(words))
    return ModelRequest(model="m1", messages=tuple(messages))


def script(*steps: dict[str, Any]) -> Script:
    return parse_script(steps, key="script")


async def hear(provider: ScriptedProvider, request: ModelRequest) -> list[Delta]:
    async with provider.stream(request) as deltas:
        return [delta async for delta in deltas]


async def say(provider: ScriptedProvider, *words: str) -> str:
    return spoken(await hear(provider, asked(*words)))


def spoken(deltas: list[Delta]) -> str:
    return text_of(fold(delta.part for delta in deltas if isinstance(delta, PartDelta)))


async def test_result_placeholder_holds_what_the_tools_returned() -> None:
    provider = ScriptedProvider(script=script({"text": "<{result}>"}))
    request = asked("go", "calls")
    results = ({"type": "tool-result", "result": "sunny"}, {"type": "tool-result", "result": [1]})
    answered = replace(message(3, Role.TOOL, ""), content=results)
    with_results = ModelRequest(model="m1", messages=(*request.messages, answered))
    assert spoken(await hear(provider, with_results)) == "<sunny\n[1]>"
    assert spoken(await hear(provider, asked("go"))) == "<>"


@pytest.mark.parametrize(
    ("placeholder", "rendered"),
    [
        ("{result:a}", '{"id": "x"}'),
        ("{result:a:id}", "x"),
        ("{result:b:list.1.n}", "2"),
        ("{result:b:list.9}", "null"),
        ("{result:a:id.deeper}", "null"),
        ("{result:none}", "null"),
    ],
)
async def test_result_placeholder_names_an_earlier_call(placeholder: str, rendered: str) -> None:
    provider = ScriptedProvider(script=script({"text": placeholder}))
    results = [
        {"type": "tool-result", "tool_call_id": "a", "result": "old"},
        {"type": "tool-result", "tool_call_id": "a", "result": '{"id": "x"}'},
        {"type": "tool-result", "tool_call_id": "b", "result": {"list": [1, {"n": 2}]}},
    ]
    tools = [replace(message(n, Role.TOOL, ""), content=(r,)) for n, r in enumerate(results, 2)]
    request = ModelRequest(model="m1", messages=(message(1, Role.USER, "go"), *tools))
    assert spoken(await hear(provider, request)) == rendered


async def test_placeholders_hold_the_model_and_the_message() -> None:
    provider = ScriptedProvider(script=script({"text": "{model}: {message}!", "chunks": 3}))
    assert await say(provider, "one", "m1: one!", "{attempt} two") == "m1: {attempt} two!"


async def test_message_marker_selects_the_script() -> None:
    scripts = {"loud": script({"text": "{message}?!"})}
    provider = ScriptedProvider(script=script({"text": "quiet"}), scripts=scripts)
    assert await say(provider, "hey [[loud]]") == "hey?!"
    assert await say(provider, "hey") == "quiet"
    assert await say(provider, "hey [[unknown]]") == "quiet"


async def test_steps_by_attempt_fail_twice_and_then_succeed() -> None:
    provider = ScriptedProvider(
        script=script(
            {"error": {"status": 503, "retry_after": 2}, "attempts": [1, 2]},
            {"text": "at attempt {attempt}"},
        )
    )
    for _ in range(2):
        with pytest.raises(Exception, match="The script says so") as caught:
            await say(provider, "hello")
        failure = classify(caught.value, provider="p", model="m")
        assert failure is not None
        assert (failure.kind, failure.retry_after_seconds) == (FailureKind.OVERLOADED, 2)
    assert await say(provider, "hello") == "at attempt 3"
    assert provider.calls == 3


async def test_steps_by_call_and_turn() -> None:
    provider = ScriptedProvider(
        script=script(
            {"tool_call": {"name": "look", "args": {"n": 1}}, "calls": [1], "turns": [1]},
            {"text": "found", "calls": [2]},
            {"text": "turn {turn}", "turns": [2]},
        )
    )
    first = await hear(provider, asked("go"))
    assert [d.reason for d in first if isinstance(d, Finished)] == ["tool_call"]
    history = asked("go", "call").messages
    after = ModelRequest(model="m1", messages=(*history, message(3, Role.TOOL, "")))
    deltas = await hear(provider, after)
    assert text_of(fold(d.part for d in deltas if isinstance(d, PartDelta))) == "found"
    assert await say(provider, "go", "found", "and?") == "turn 2"


@pytest.mark.parametrize("chunks", [1, 2, 7, 100])
async def test_text_is_split_into_chunks(chunks: int) -> None:
    provider = ScriptedProvider(script=script({"text": "ab" * 7, "chunks": chunks}))
    pieces = [d for d in await hear(provider, asked("x")) if isinstance(d, PartDelta)]
    assert len(pieces) == min(chunks, 14)
    assert text_of(fold(piece.part for piece in pieces)) == "ab" * 7


async def test_text_around_a_wait_is_one_part() -> None:
    steps = ({"text": "a"}, {"wait_seconds": 0}, {"text": "b"}, {"reasoning": "c"}, {"text": "d"})
    deltas = await hear(ScriptedProvider(script=script(*steps)), asked("x"))
    content = fold(d.part for d in deltas if isinstance(d, PartDelta))
    assert [(p["type"], p["text"]) for p in content] == [
        ("text", "ab"),
        ("reasoning", "c"),
        ("text", "d"),
    ]


async def test_panic_step_raises_an_unclassified_exception() -> None:
    with pytest.raises(RuntimeError, match="boom") as caught:
        await say(ScriptedProvider(script=script({"text": "a"}, {"panic": "boom"})), "x")
    assert classify(caught.value, provider="p", model="m") is None


async def test_on_call_receives_requests_and_may_raise() -> None:
    seen: list[ModelRequest] = []

    def watch(request: ModelRequest) -> None:
        seen.append(request)
        if len(seen) > 1:
            raise KeyError("broken on purpose")

    provider = ScriptedProvider(script=script({"text": "a"}), on_call=watch)
    assert await say(provider, "x") == "a"
    with pytest.raises(KeyError):
        await say(provider, "x")
    assert (provider.calls, provider.open_streams) == (2, 0)


async def test_cancelled_stream_is_closed() -> None:
    provider = ScriptedProvider(script=script({"hang": True}))
    called = asyncio.Event()
    provider.on_call = lambda _: called.set()
    call = asyncio.create_task(say(provider, "x"))
    await called.wait()
    assert provider.open_streams == 1
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert provider.open_streams == 0


async def test_long_response_lets_other_tasks_run() -> None:
    provider = ScriptedProvider(script=script({"text": "x" * 1000, "chunks": 1000}))
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    bystander = asyncio.create_task(other())
    await say(provider, "x")
    bystander.cancel()
    assert turns > 10


def test_default_script_needs_no_configuration() -> None:
    assert len(DEFAULT_SCRIPT) == 1
    assert DEFAULT_SCRIPT[0].chunks > 1


@pytest.mark.parametrize(
    ("steps", "key"),
    [
        ([{"text": "a", "chunk": 3}], "providers.fake.script.0.chunk"),
        ([{"text": "a"}, {"text": "a", "chunks": 0}], "providers.fake.script.1.chunks"),
        ([{}], "providers.fake.script.0"),
        ([{"text": "a", "hang": True}], "providers.fake.script.0"),
        ([{"error": {}}], "providers.fake.script.0.error"),
        ([{"error": {"status": 7}}], "providers.fake.script.0.error.status"),
        ([{"tool_call": {}}], "providers.fake.script.0.tool_call.name"),
        ("text", "providers.fake.script"),
    ],
)
def test_invalid_script_is_rejected_with_its_key(steps: Any, key: str) -> None:
    with pytest.raises(ProviderConfigError) as caught:
        parse_script(steps, key="providers.fake.script")
    assert caught.value.key == key
    assert str(caught.value).startswith(f"{key}: ")


SMALL_WINDOW = script(
    {"error": {"status": 400, "code": "context_length_exceeded"}, "above_tokens": 20},
    {"text": "It fits."},
)


async def test_script_plays_a_model_with_a_small_window() -> None:
    provider = ScriptedProvider(script=SMALL_WINDOW)
    deltas = await hear(provider, asked("x" * 30))
    assert spoken(deltas) == "It fits."
    assert isinstance(deltas[-1], Finished)
    assert deltas[-1].usage.input_tokens == 10, "those of all messages"
    with pytest.raises(ProviderError) as raised:
        await say(provider, "x" * 90)
    failure = classify(raised.value, provider="p", model="m")
    assert failure is not None
    assert failure.kind is FailureKind.CONTEXT_LIMIT


async def test_summary_is_played_whatever_the_transcript_names() -> None:
    request = replace(asked("[[other]]"), purpose=CallPurpose.SUMMARY)
    other = {"other": script({"text": "no"})}
    assert "scripted model" in spoken(await hear(ScriptedProvider(scripts=other), request))
    own = {**other, "summary": script({"text": "Summed up."})}
    assert spoken(await hear(ScriptedProvider(scripts=own), request)) == "Summed up."


async def test_script_of_a_turn_goes_on_behind_a_summary() -> None:
    """A summary in the middle of a turn ends with the message that is being answered, and its steps."""
    parts = ({"type": "text", "text": "[[other]]"}, {"type": "text", "text": "[[own]]", "steps": 2})
    summary = replace(message(9, Role.USER, ""), content=parts, covers_until=8)
    provider = ScriptedProvider(scripts={"own": script({"text": "call {call}"})})
    request = ModelRequest(model="m1", messages=(summary, message(10, Role.ASSISTANT, "a")))
    assert spoken(await hear(provider, request)) == "call 4"
