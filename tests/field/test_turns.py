"""Whole turns over bytes of providers: what is stored, shown, retried and refused."""

from typing import Any

import pytest
from support.client_tools import WEATHER
from support.field_cases import CHAT, DONE, STOP, chunk, sse, text, tool_call
from support.in_process import running_daemon
from support.model_server import End, ModelResponse, Pause, model_server
from support.sse_client import ChatView

from chatd.llm.vendors.pydantic_ai import PydanticAIProvider

CALL = chunk({"tool_calls": [tool_call(0, "c1", "weather", '{"city": "Os')]})
WHOLE_CALL = chunk({"tool_calls": [tool_call(0, "c1", "weather", '{"city": "Oslo"}')]})
USAGE = sse({"choices": [], "usage": {"prompt_tokens": 2**40, "completion_tokens": 2.5}})


def answer(*pieces: bytes | Pause, end: End = End.WHOLE) -> ModelResponse:
    return ModelResponse(pieces=pieces, end=end)


TURNS: dict[str, list[ModelResponse]] = {
    "cut-by-length": [answer(text("Hi"), CALL, chunk({}, "length"), DONE)],
    "only-a-cut-call": [answer(CALL, chunk({}, "length"), DONE)],
    "filtered": [answer(text("Hi"), chunk({}, "content_filter"), DONE)],
    "filtered-at-once": [answer(chunk({}, "content_filter"), DONE)],
    "nothing": [answer(chunk({}, "stop"), DONE)],
    "blank": [answer(text(" \n"), chunk({}, "stop"), DONE)],
    "calls-without-a-call": [answer(chunk({"tool_calls": []}, "tool_calls"), DONE)],
    "call-without-a-name": [
        answer(chunk({"tool_calls": [tool_call(0, "c1", None, "{}")]}, "tool_calls"), DONE)
    ],
    "nothing-at-first": [answer(chunk({}, "stop"), DONE), answer(text("Hello"), STOP, DONE)],
    "cut-at-first": [answer(text("Hel"), end=End.CLOSE), answer(text("Hello"), STOP, DONE)],
    "quota": [
        ModelResponse(
            pieces=[b'{"error":{"code":"insufficient_quota","message":"No credit."}}'],
            content_type="application/json",
        )
    ],
    "absurd-usage": [answer(text("Hello"), STOP, USAGE, DONE)],
    "numeric-id": [
        answer(chunk({"tool_calls": [tool_call(0, 7, "weather", "{}")]}, "tool_calls"), DONE)
    ],
    "odd-types": [answer(sse({"choices": [{"delta": {"content": {"a": 1}}}]}))],
}
STORED = {
    "cut-by-length": ("Hi", "length"),
    "filtered": ("Hi", "content_filter"),
    "nothing-at-first": ("Hello", "stop"),
    "cut-at-first": ("Hello", "stop"),
    "absurd-usage": ("Hello", "stop"),
}
FAILED = {
    "only-a-cut-call": ("provider_error", 3, "reached its length limit"),
    "filtered-at-once": ("content_filter", 1, "refused to answer"),
    "nothing": ("provider_error", 3, "the model answered nothing"),
    "blank": ("provider_error", 3, "the model answered nothing"),
    "calls-without-a-call": ("provider_error", 3, "the model answered nothing"),
    "call-without-a-name": ("provider_error", 3, "the model answered nothing"),
    "quota": ("quota", 1, "No credit"),
    "odd-types": ("provider_error", 3, "could not be read"),
}


async def test_turns(dsn: str) -> None:
    async with model_server(answer(text("Hello"), STOP, DONE)) as server:
        server.named = {f"[{name}]": list(responses) for name, responses in TURNS.items()}
        provider = PydanticAIProvider(name="acme", kind=CHAT, base_url=f"{server.url}/v1")
        async with running_daemon(dsn, provider) as chatd:
            chats = {
                name: (await chatd.api.create(f"[{name}]", tools=[WEATHER]))["id"] for name in TURNS
            }
            for name, (words, reason) in STORED.items():
                await chatd.api.wait_for_status(chats[name], "waiting")
                last = (await chatd.api.messages(chats[name]))[-1]
                assert [p["text"] for p in last["content"]] == [words], name
                assert last["finish_reason"] == reason, name
            for name, (kind, attempts, words) in FAILED.items():
                failed = await chatd.api.wait_for_status(chats[name], "error")
                detail = failed["last_error_detail"]
                assert (detail["kind"], detail["attempts"]) == (kind, attempts), name
                assert words in failed["last_error"], name
                assert await chatd.api.texts(chats[name]) == [], name
            asked = await chatd.api.wait_for_status(chats["numeric-id"], "requires_action")
            assert asked["last_error"] is None
            [call] = (await chatd.api.messages(chats["numeric-id"]))[-1]["content"]
            assert call["tool_call_id"] == "7"
            used = (await chatd.api.chat(chats["absurd-usage"]))["usage"]
            assert (used["input_tokens"], used["output_tokens"]) == (2**31 - 1, 2)


async def test_length_is_shown_on_the_stream(dsn: str) -> None:
    async with model_server(*TURNS["cut-by-length"]) as server:
        provider = PydanticAIProvider(name="acme", kind=CHAT, base_url=f"{server.url}/v1")
        async with running_daemon(dsn, provider) as chatd:
            chat = await chatd.api.create(tools=[WEATHER])
            live_view = ChatView()
            await chatd.api.follow(chat["id"], live_view, lambda view: view.cursor is not None)
            await chatd.api.send(chat["id"], "Hello")
            await chatd.api.follow(chat["id"], live_view, lambda view: len(view.messages) == 2)
            messages = [event.data for event in live_view.events if event.event == "message"]
            assert [m["finish_reason"] for m in messages] == [None, "length"]
            later_view = ChatView()
            await chatd.api.follow(chat["id"], later_view, lambda view: len(view.messages) == 2)
            [snapshot] = [event.data for event in later_view.events if event.event == "snapshot"]
            assert [m["finish_reason"] for m in snapshot["messages"]] == [None, "length"]


@pytest.mark.parametrize("ping", [b": ping\n\n", b"event: ping\n\n", chunk({})], ids=repr)
async def test_pings_keep_a_silent_model_alive(dsn: str, ping: bytes) -> None:
    pings: list[Any] = [ping, Pause(0.1)] * 20
    async with model_server(answer(*pings, text("Hello"), STOP, DONE)) as server:
        provider = PydanticAIProvider(name="acme", kind=CHAT, base_url=f"{server.url}/v1")
        await provider.warm()
        limits = {"stream_idle_timeout_seconds": 1.5, "max_attempts": 1}
        async with running_daemon(dsn, provider, turn=limits) as chatd:
            chat = await chatd.api.create("Hello")
            await chatd.api.wait_for_status(chat["id"], "waiting")
            assert await chatd.api.texts(chat["id"]) == ["Hello"]
        assert len(server.requests) == 1


async def test_pings_do_not_keep_a_model_alive_for_ever(dsn: str) -> None:
    pings: list[Any] = [b": ping\n\n", Pause(0.05)] * 1000
    async with model_server(answer(*pings)) as server:
        provider = PydanticAIProvider(name="acme", kind=CHAT, base_url=f"{server.url}/v1")
        await provider.warm()
        limits = {"model_call_timeout_seconds": 1, "max_attempts": 1}
        async with running_daemon(dsn, provider, turn=limits) as chatd:
            chat = await chatd.api.create("Hello")
            failed = await chatd.api.wait_for_status(chat["id"], "error")
            assert failed["last_error_detail"]["kind"] == "timeout"
