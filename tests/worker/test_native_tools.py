"""Tools that a provider runs itself: stored with the answer, shown, and never run here."""

from collections.abc import AsyncIterator

import anyio
import pytest
from support.eventually import eventually
from support.in_process import fetch_rows, running_daemon
from support.providers import FunctionProvider, finished, text_delta
from support.streams import background_subscriber

from chatd.domain.message import Part, Role, fold
from chatd.llm.provider import Delta, ModelRequest, PartDelta
from chatd.store.database import Database

STATE = {"name": "acted", "id": "srvtoolu_1"}
RESULT_STATE = {**STATE, "content": "sealed"}
CALL = {
    "index": 0,
    "type": "native-tool-call",
    "tool_call_id": "srvtoolu_1",
    "tool_name": "web_search",
}
RESULT = {
    **CALL,
    "index": 1,
    "type": "native-tool-result",
    "result": [{"url": "u"}],
    "is_error": False,
}


def searching(*, reason: str = "stop") -> list[Delta]:
    """Return a search in pieces, as a provider streams it, and the end of the answer."""
    return [
        PartDelta({**CALL, "args": ""}),
        PartDelta({"index": 0, "type": "native-tool-call", "args": '{"query": "x"}'}),
        PartDelta(RESULT),
        *([] if reason == "pause_turn" else [text_delta("Sunny.", 2)]),
        PartDelta({"index": 0, "type": "native-tool-call", "provider": STATE}),
        PartDelta({"index": 1, "type": "native-tool-result", "provider": RESULT_STATE}),
        finished(reason),
    ]


def answering(*answers: list[Delta]) -> FunctionProvider:
    """Return a provider that gives these answers in turn, the last one for ever."""

    async def act(_: ModelRequest) -> AsyncIterator[Delta]:
        for delta in answers[min(len(provider.requests), len(answers)) - 1]:
            yield delta

    provider = FunctionProvider(act)
    return provider


def shown(part: Part) -> dict[str, object]:
    return {key: value for key, value in part.items() if key not in {"index", "provider"}}


async def test_search_is_shown_and_goes_back_to_its_provider(dsn: str, database: Database) -> None:
    followed = anyio.Event()

    async def act(_: ModelRequest) -> AsyncIterator[Delta]:
        await followed.wait()
        for delta in searching():
            yield delta

    provider = FunctionProvider(act)
    async with running_daemon(dsn, provider) as chatd:
        chat = await chatd.api.create("go")
        async with background_subscriber(chatd, chat["id"]) as subscriber:
            followed.set()
            await eventually(lambda: any(e.event == "message" for e in subscriber.events))
        stored = (await chatd.api.messages(chat["id"]))[-1]["content"]
        call = {**shown(CALL), "args": '{"query": "x"}'}
        assert stored == [call, shown(RESULT), {"type": "text", "text": "Sunny."}]
        streamed = [e.data for e in subscriber.events if e.event == "message_part"]
        assert [shown(part) for part in fold(streamed)] == stored
        assert "sealed" not in str(subscriber.events)
        await chatd.api.send(chat["id"], "again")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        content = provider.requests[1].messages[1].content
        assert [part.get("provider") for part in content] == [STATE, RESULT_STATE, None]
        assert await fetch_rows(database, "SELECT * FROM chat_tool_calls") == []


async def test_answer_that_was_paused_is_stored_and_goes_on(dsn: str) -> None:
    provider = answering(
        searching(reason="pause_turn"), searching(reason="pause_turn"), searching()
    )
    async with running_daemon(dsn, provider) as chatd:
        chat = await chatd.api.create("go")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        messages = await chatd.api.messages(chat["id"])
        assert [message["role"] for message in messages] == ["user", *["assistant"] * 3]
        assert [m["finish_reason"] for m in messages[1:]] == ["pause_turn", "pause_turn", "stop"]
        assert [len(request.messages) for request in provider.requests] == [1, 2, 3]
        moves = [entry["transition"] for entry in await chatd.journal(chat["id"])]
        assert moves[2:] == ["commit_step", "commit_step", "finish_turn"]


async def test_answers_that_are_always_paused_end_at_the_limit_of_steps(dsn: str) -> None:
    provider = answering(searching(reason="pause_turn"))
    async with running_daemon(dsn, provider, turn={"max_steps": 3}) as chatd:
        chat = await chatd.api.create("go")
        failed = await chatd.api.wait_for_status(chat["id"], "error")
        assert failed["last_error_detail"]["kind"] == "step_limit"
        assert len(provider.requests) == 3


@pytest.mark.parametrize("pieces", range(1, 5))
async def test_interrupt_within_a_search_keeps_what_was_said(dsn: str, pieces: int) -> None:
    streamed = anyio.Event()

    async def act(request: ModelRequest) -> AsyncIterator[Delta]:
        if len(provider.requests) > 1:
            yield text_delta("Then.")
            yield finished()
            return
        yield text_delta("I look.")
        for delta in searching()[:pieces]:
            assert isinstance(delta, PartDelta)
            yield PartDelta({**delta.part, "index": delta.part["index"] + 1})
        streamed.set()
        await anyio.sleep_forever()

    provider = FunctionProvider(act)
    async with running_daemon(dsn, provider) as chatd:
        chat = await chatd.api.create("go")
        await streamed.wait()
        await chatd.api.interrupt(chat["id"])
        await chatd.api.wait_for_status(chat["id"], "waiting")
        stored = (await chatd.api.messages(chat["id"]))[-1]
        assert stored["finish_reason"] == "interrupted"
        assert {part["type"] for part in stored["content"]} == {"text"}
        await chatd.api.send(chat["id"], "again")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert [m.role for m in provider.requests[1].messages] == [
            Role.USER,
            Role.ASSISTANT,
            Role.USER,
        ]
