"""Turns of several steps: unknown tools, the step limit, and a crash between two steps."""

import asyncio
from collections.abc import AsyncIterator

from support.eventually import eventually
from support.in_process import NO_RENEWALS, fetch_rows, running_daemon, running_daemons
from support.leases import orphan_chats
from support.providers import FunctionProvider, finished, scripted, text_delta, tool_call_delta
from support.sse_client import ChatView

from chatd.domain.message import Role
from chatd.llm.provider import Delta, ModelRequest
from chatd.store.database import Database

ONE_CALL = [
    {"reasoning": "I need a tool. ", "calls": [1]},
    {"text": "Let me look. ", "calls": [1]},
    {"tool_call": {"name": "weather", "args": {"city": "Oslo"}}, "calls": [1], "chunks": 3},
    {"text": "I could not look.", "calls": [2]},
]
ENDLESS = [{"tool_call": {"name": "again"}}]


async def test_unknown_tool_gets_an_error_and_the_turn_goes_on(
    dsn: str, database: Database
) -> None:
    async with running_daemon(dsn, scripted(tool=ONE_CALL)) as chatd:
        chat = await chatd.api.create("[[tool]]")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        messages = await chatd.api.messages(chat["id"])
        assert [m["role"] for m in messages] == ["user", "assistant", "tool", "assistant"]
        call = next(p for p in messages[1]["content"] if p["type"] == "tool-call")
        assert (call["tool_name"], call["args"]) == ("weather", '{"city": "Oslo"}')
        assert messages[1]["finish_reason"] == "tool_call"
        [result] = messages[2]["content"]
        assert result["tool_call_id"] == call["tool_call_id"]
        assert result["is_error"] is True
        assert "no tool named weather" in result["result"]
        assert [e["transition"] for e in await chatd.journal(chat["id"])] == [
            "create",
            "claim",
            "commit_step",
            "finish_turn",
        ]
        used = (await chatd.api.chat(chat["id"]))["usage"]
        assert used["output_tokens"] == sum(
            m["usage"]["output_tokens"] for m in messages if m["usage"]
        )
        turn = await chatd.wait_for_log("chat.turn")
        assert (turn["outcome"], turn["steps"], turn["attempts"]) == ("finished", 2, 2)
    assert await fetch_rows(database, "SELECT * FROM chat_parts") == []


async def test_all_unknown_calls_of_a_response_get_errors(dsn: str) -> None:
    requests: list[ModelRequest] = []

    async def act(request: ModelRequest) -> AsyncIterator[Delta]:
        requests.append(request)
        if len(requests) == 1:
            for n in range(3):
                yield tool_call_delta(f"tool{n}", f"id{n}", index=n)
            yield finished("tool_call")
        else:
            yield text_delta("well then")
            yield finished()

    async with running_daemon(dsn, FunctionProvider(act)) as chatd:
        chat = await chatd.api.create("hello")
        await chatd.api.wait_for_status(chat["id"], "waiting")
    last = requests[1].messages[-1]
    assert last.role is Role.TOOL
    assert [part["tool_call_id"] for part in last.content] == ["id0", "id1", "id2"]


async def test_endless_turn_fails_at_the_step_limit(dsn: str) -> None:
    provider = scripted(endless=ENDLESS)
    async with running_daemon(dsn, provider, turn={"max_steps": 4}) as chatd:
        chat = await chatd.api.create("[[endless]]")
        failed = await chatd.api.wait_for_status(chat["id"], "error")
        assert failed["last_error_detail"]["kind"] == "step_limit"
        assert "4 steps" in failed["last_error"]
        assert provider.calls == 4
        assert len([m for m in await chatd.api.messages(chat["id"]) if m["role"] == "tool"]) == 4
        await chatd.api.send(chat["id"], "and now?")
        await chatd.api.wait_for_status(
            chat["id"], "waiting"
        )  # the limit counts per turn, not per chat
        assert (await chatd.api.texts(chat["id"]))[-1] == "You said: and now?"


async def test_turn_that_makes_the_same_calls_for_ever_fails(dsn: str) -> None:
    provider = scripted(endless=ENDLESS)
    async with running_daemon(dsn, provider, turn={"max_repeated_calls": 3}) as chatd:
        chat = await chatd.api.create("[[endless]]")
        failed = await chatd.api.wait_for_status(chat["id"], "error")
        assert failed["last_error_detail"]["kind"] == "tool_loop"
        assert "the same calls 3 times in a row" in failed["last_error"]
        assert provider.calls == 3
        await chatd.api.send(chat["id"], "and now?")
        await chatd.api.wait_for_status(chat["id"], "waiting")


async def test_empty_response_is_tried_again_and_fails_the_turn(dsn: str) -> None:
    async def act(_: ModelRequest) -> AsyncIterator[Delta]:
        yield finished()

    provider = FunctionProvider(act)
    async with running_daemon(dsn, provider, turn={"max_attempts": 2}) as chatd:
        chat = await chatd.api.create("hello")
        failed = await chatd.api.wait_for_status(chat["id"], "error")
        assert "the model answered nothing" in failed["last_error"]
        assert len(provider.requests) == 2


async def test_next_worker_resumes_at_the_right_step_after_a_crash(
    dsn: str, database: Database
) -> None:
    """The first step is stored, the crash is in the second. The first model call is not repeated."""
    stuck = asyncio.Event()
    calls: list[int] = []

    def provider(name: str) -> FunctionProvider:
        async def act(request: ModelRequest) -> AsyncIterator[Delta]:
            steps = sum(m.role is Role.ASSISTANT for m in request.messages)
            calls.append(steps)
            if steps == 0:
                yield text_delta("Looking. ")
                yield tool_call_delta("weather", "c1", index=1)
                yield finished("tool_call")
            elif name == "first":
                yield text_delta("Half of the ")
                stuck.set()
                await asyncio.Event().wait()
            else:
                yield text_delta("whole answer")
                yield finished()

        return FunctionProvider(act)

    worker = {**NO_RENEWALS, "poll_seconds": 0.1, "reap_interval_seconds": 0.1}
    async with running_daemon(dsn, provider("first"), worker=worker | {"max_chats": 1}) as first:
        chat = await first.api.create("go")
        await stuck.wait()
        first.daemon.chat_tasks.stop_claiming()
        async with running_daemon(dsn, provider("second"), worker=worker) as second:
            # Other workers see a crash: no heartbeat for an hour.
            await orphan_chats(database, chat["id"])
            await eventually(lambda: second.journal(chat["id"], "finish_turn"))
            assert calls == [0, 1, 1]
            messages = await second.api.messages(chat["id"])
            assert [m["role"] for m in messages] == ["user", "assistant", "tool", "assistant"]
            assert await second.api.texts(chat["id"]) == ["Looking. ", "whole answer"]
            [reap] = await second.journal(chat["id"], "reap")
            assert reap["data"]["reason"] == "lease_expired"
            assert (await fetch_rows(database, "SELECT recoveries FROM chats"))[0][
                "recoveries"
            ] == 0


async def test_next_worker_answers_open_calls_before_the_model_call(
    dsn: str, database: Database
) -> None:
    """The stored history ends with an open call. The next worker closes it before it calls the model."""
    async with running_daemon(dsn, worker={"enabled": False}) as front:
        chat = await front.api.create("go")
    await database.fetch(
        "INSERT INTO chat_messages (chat_id, id, version, role, content)"
        " SELECT $1, max(id) + 1, 1, 'assistant', $2 FROM chat_messages WHERE chat_id = $1",
        chat["id"],
        [{"type": "tool-call", "tool_call_id": "x", "tool_name": "t", "args": "{}"}],
    )
    async with running_daemon(dsn) as chatd:
        await chatd.api.wait_for_status(chat["id"], "waiting")
        messages = await chatd.api.messages(chat["id"])
        assert [m["role"] for m in messages] == ["user", "assistant", "tool", "assistant"]


async def test_completely_stored_turn_is_only_finished(dsn: str, database: Database) -> None:
    provider = scripted()
    async with running_daemon(dsn, worker={"enabled": False}) as front:
        chat = await front.api.create("go")
    await database.fetch(
        "INSERT INTO chat_messages (chat_id, id, version, role, content)"
        " SELECT $1, max(id) + 1, 1, 'assistant', $2 FROM chat_messages WHERE chat_id = $1",
        chat["id"],
        [{"type": "text", "text": "answered"}],
    )
    async with running_daemon(dsn, provider) as chatd:
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert await chatd.api.texts(chat["id"]) == ["answered"]
        assert provider.calls == 0


async def test_stream_has_each_step_once(dsn: str) -> None:
    async with running_daemons(dsn, [scripted(tool=ONE_CALL)] * 2) as daemons:
        chat = await daemons[0].api.create()
        views = [ChatView(), ChatView()]

        async def follow(number: int) -> None:
            await daemons[number].api.follow(
                chat["id"], views[number], lambda view: len(view.messages) == 4
            )

        followers = [asyncio.create_task(follow(n)) for n in range(2)]
        await eventually(lambda: all(view.status for view in views))
        await daemons[0].api.send(chat["id"], "[[tool]]")
        await asyncio.gather(*followers)
        stored = [m["id"] for m in await daemons[0].api.messages(chat["id"])]
        for view in views:
            assert list(view.messages) == stored
            assert all(
                e.data["index"] in {0, 1, 2} for e in view.events if e.event == "message_part"
            )
