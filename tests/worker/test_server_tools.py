"""Tools that the server runs: from a model's call to the result that it reads."""

import asyncio
import json

import anyio
import pytest
from support.client_tools import TOOLS, calling_provider, results_in, results_of_all_calls
from support.eventually import eventually
from support.in_process import fetch_rows, running_daemon
from support.providers import tool_call_delta
from support.sse_client import ChatView
from support.tool_endpoint import ToolCallRequest, response, tool_endpoint, tools

from chatd.domain.tool_call_errors import CANCELLED, OUTCOME_UNKNOWN
from chatd.store.database import Database


async def test_turn_goes_on_with_the_result_of_the_tool(dsn: str, database: Database) -> None:
    provider = calling_provider([tool_call_delta("pay", "c1", '{"note": "rent"}')])
    async with (
        tool_endpoint() as endpoint,
        running_daemon(dsn, provider, **tools(endpoint)) as chatd,
    ):
        chat = await chatd.api.create("go")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert results_in(provider.requests[1]) == [("c1", "done /pay", False)]
        assert [tool.name for tool in provider.requests[0].tools] == ["look", "pay"]
        [request] = endpoint.requests
        assert (request.method, request.target, request.json) == ("POST", "/pay", {"note": "rent"})
        moves = [entry["transition"] for entry in await chatd.journal(chat["id"])]
        assert moves[2:] == ["commit_step", "close_calls", "finish_turn"]
        [row] = await fetch_rows(database, "SELECT * FROM chat_tool_calls")
        assert (row["state"], row["tries"], row["executor"]) == ("closed", 1, "server")
        assert "rent" not in str(await chatd.journal(chat["id"]))
        assert not [line for line in chatd.logs if "rent" in str(line)]


async def test_parallel_calls_are_stored_by_few_statements(dsn: str) -> None:
    calls = [tool_call_delta("look", f"c{n}", index=n) for n in range(8)]
    provider = calling_provider(calls)
    async with (
        tool_endpoint() as endpoint,
        running_daemon(dsn, provider, **tools(endpoint)) as chatd,
    ):
        chat = await chatd.api.create("go")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert len(await results_of_all_calls(chatd, chat["id"])) == 8
        assert len(endpoint.requests) == len(set(endpoint.keys())) == 8
        closes = await chatd.journal(chat["id"], "close_calls")
        assert len(closes) <= 2


async def test_no_more_run_at_once_than_may_and_the_others_follow(
    dsn: str, database: Database
) -> None:
    running = most = 0

    async def answer(_: ToolCallRequest) -> bytes:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.02)
        running -= 1
        return response("ok")

    provider = calling_provider([tool_call_delta("pay", f"c{n}", index=n) for n in range(5)])
    async with (
        tool_endpoint(answer) as endpoint,
        running_daemon(dsn, provider, **tools(endpoint, tools={"parallel": 2})) as chatd,
    ):
        chat = await chatd.api.create("go")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert await results_of_all_calls(chatd, chat["id"]) == ["ok"] * 5
        assert (most, len(set(endpoint.keys()))) == (2, 5)
        rows = await fetch_rows(database, "SELECT tries FROM chat_tool_calls")
        assert [row["tries"] for row in rows] == [1] * 5


async def test_message_of_all_kinds_asks_once_and_has_one_answer(dsn: str) -> None:
    provider = calling_provider(
        [
            tool_call_delta("weather", "c1", '{"city": "Oslo"}'),
            tool_call_delta("pay", "c2", index=1),
            tool_call_delta("no such", "c3", index=2),
            tool_call_delta("clock", "c4", index=3),
        ]
    )
    async with (
        tool_endpoint() as endpoint,
        running_daemon(dsn, provider, **tools(endpoint)) as chatd,
    ):
        chat = await chatd.api.create("go", tools=TOOLS)
        await chatd.api.wait_for_status(chat["id"], "requires_action")
        assert len(endpoint.requests) == 1, "the server's tools run before the client is asked"
        view = ChatView()
        await chatd.api.follow(chat["id"], view, lambda view: view.status is not None)
        asked = view.events[0].data["action_required"]["calls"]
        assert [call["tool_call_id"] for call in asked] == ["c1", "c4"]
        assert asked[0]["args"] == '{"city": "Oslo"}'
        assert len(await chatd.journal(chat["id"], "require_action")) == 1
        await chatd.api.submit_tool_results(chat["id"], {"c1": 1, "c4": 4})
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert results_in(provider.requests[1]) == [
            ("c1", 1, False),
            ("c2", "done /pay", False),
            ("c3", "There is no tool named no such.", True),
            ("c4", 4, False),
        ]
        roles = [message["role"] for message in await chatd.api.messages(chat["id"])]
        assert roles == ["user", "assistant", "tool", "assistant"]


async def test_stream_shows_arguments_of_calls_that_are_asked_after_others_ran(dsn: str) -> None:
    provider = calling_provider(
        [
            tool_call_delta("weather", "c1", '{"city": "Oslo"}'),
            tool_call_delta("pay", "c2", index=1),
        ]
    )
    async with (
        tool_endpoint() as endpoint,
        running_daemon(dsn, provider, **tools(endpoint)) as chatd,
    ):
        chat = await chatd.api.create(tools=TOOLS)
        view = ChatView()
        following = asyncio.create_task(
            chatd.api.follow(chat["id"], view, lambda view: view.status == "requires_action")
        )
        await eventually(lambda: view.status)
        await chatd.api.send(chat["id"], "go")
        await following
        [asked] = [event.data for event in view.events if event.event == "action_required"]
        [call] = asked["calls"]
        assert (call["tool_call_id"], call["args"]) == ("c1", '{"city": "Oslo"}')
        [closed] = [event.data for event in view.events if event.event == "tool_calls"]
        assert closed == {
            "closed": [{"tool_call_id": "c2", "tool_name": "pay", "is_error": False}],
            "started": [],
            "asked": [],
        }


async def never(_: ToolCallRequest) -> bytes:
    await asyncio.sleep(3600)
    raise AssertionError


async def test_interrupt_stops_a_tool_that_never_answers_and_keeps_other_results(
    dsn: str,
) -> None:
    async def answer(request: ToolCallRequest) -> bytes:
        return await never(request) if request.target == "/pay" else response("seen")

    provider = calling_provider(
        [
            tool_call_delta("look", "c1"),
            tool_call_delta("pay", "c2", index=1),
            tool_call_delta("pay", "c3", index=2),
        ]
    )
    async with (
        tool_endpoint(answer) as endpoint,
        running_daemon(dsn, provider, **tools(endpoint, tools={"parallel": 2})) as chatd,
    ):
        chat = await chatd.api.create("go")
        await eventually(lambda: len(endpoint.requests) == 3)
        began = anyio.current_time()
        await chatd.api.interrupt(chat["id"])
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert anyio.current_time() - began < 1
        assert await results_of_all_calls(chatd, chat["id"]) == [
            "seen",
            CANCELLED["other"],
            CANCELLED["other"],
        ]
        await eventually(lambda: endpoint.closed == 2)
        assert len(endpoint.requests) == 3


async def test_interrupt_answers_calls_that_did_not_start(dsn: str) -> None:
    provider = calling_provider([tool_call_delta("pay", f"c{n}", index=n) for n in range(3)])
    async with (
        tool_endpoint(never) as endpoint,
        running_daemon(dsn, provider, **tools(endpoint, tools={"parallel": 1})) as chatd,
    ):
        chat = await chatd.api.create("go")
        await endpoint.arrived.wait()
        await chatd.api.interrupt(chat["id"])
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert await results_of_all_calls(chatd, chat["id"]) == [
            CANCELLED["other"],
            CANCELLED["ready"],
            CANCELLED["ready"],
        ]
        assert len(endpoint.requests) == 1


async def test_slow_tool_is_stopped_and_the_turn_goes_on(dsn: str) -> None:
    provider = calling_provider([tool_call_delta("pay", "c1")])
    async with (
        tool_endpoint(never) as endpoint,
        running_daemon(dsn, provider, **tools(endpoint, tools={"timeout_seconds": 0.05})) as chatd,
    ):
        chat = await chatd.api.create("go")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        expected = ("c1", "Stopped after 0.05 s. It may have had effects.", True)
        assert results_in(provider.requests[1]) == [expected]


async def test_arguments_that_do_not_fit_are_a_result(dsn: str) -> None:
    provider = calling_provider(
        [
            tool_call_delta("pay", "c1", '{"note": 1}'),
            tool_call_delta("pay", "c2", '{"note": ', index=1),
            tool_call_delta("pay", "c3", "[]", index=2),
        ]
    )
    async with (
        tool_endpoint() as endpoint,
        running_daemon(dsn, provider, **tools(endpoint)) as chatd,
    ):
        chat = await chatd.api.create("go")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        results = results_in(provider.requests[1])
        assert [is_error for _, _, is_error in results] == [True] * 3
        assert results[0][1].startswith("The arguments do not fit the tool: note: ")
        assert endpoint.requests == []


async def leave_started(database: Database, chat_id: str) -> None:
    """Have the chat taken from its worker while its tools run, as if that were dead."""
    await database.fetch(
        "UPDATE chats SET status = 'pending', worker_id = NULL, started_at = NULL,"
        " heartbeat_at = NULL, pending_since = clock_timestamp(), version = version + 1"
        " WHERE id = $1",
        chat_id,
    )
    await database.fetch(
        "INSERT INTO chat_events (chat_id, version, transition, status, epoch)"
        " SELECT id, version, 'reap', status, epoch FROM chats WHERE id = $1",
        chat_id,
    )


async def test_takeover_repeats_idempotent_calls_only(dsn: str, database: Database) -> None:
    stuck = True

    async def answer(request: ToolCallRequest) -> bytes:
        return await never(request) if stuck else response("again")

    provider = calling_provider(
        [tool_call_delta("pay", "c1"), tool_call_delta("look", "c2", index=1)]
    )
    async with (
        tool_endpoint(answer) as endpoint,
        running_daemon(dsn, provider, **tools(endpoint)) as chatd,
    ):
        chat = await chatd.api.create("go")
        await eventually(lambda: len(endpoint.requests) == 2)
        stuck = False
        await leave_started(database, chat["id"])
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert await results_of_all_calls(chatd, chat["id"]) == [OUTCOME_UNKNOWN, "again"]
        assert sorted(request.target for request in endpoint.requests) == ["/look", "/look", "/pay"]
        looks = {request.key for request in endpoint.requests if request.target == "/look"}
        assert len(looks) == 1, "each start of a call has the same key"


@pytest.mark.parametrize("name", ["pay", "read_tool_result"])
async def test_client_may_not_name_its_tool_as_one_of_the_server(name: str, dsn: str) -> None:
    async with tool_endpoint() as endpoint, running_daemon(dsn, **tools(endpoint)) as chatd:
        body = {"tools": [{"name": name, "parameters": {"type": "object"}}]}
        answer = await chatd.api.http.post("/api/v1/chats", json=body)
        assert answer.status_code == 422
        assert answer.json()["code"] == "invalid_request"
        assert f"{name} is a tool of this server" in json.dumps(answer.json())
