"""Client tools: the chat waiting_chat for the client, and each call gets exactly one result."""

import asyncio

import pytest
from support.client_tools import (
    OSLO,
    SCHEMA,
    TOOLS,
    calling_provider,
    results_in,
    results_of_all_calls,
    waiting_chat,
)
from support.eventually import eventually
from support.in_process import fetch_rows, running_daemon, running_daemons
from support.providers import tool_call_delta
from support.sse_client import ChatView

from chatd.domain.errors import DatabaseUnavailable
from chatd.domain.message import Role
from chatd.store.commands import CommitStep, RequireAction
from chatd.store.database import Database
from chatd.store.records import TransitionResult
from chatd.store.turns import FencingToken
from chatd.store.worker_command import WorkerCommand


async def test_turn_goes_on_with_the_results_of_the_client(dsn: str, database: Database) -> None:
    provider = calling_provider(
        [tool_call_delta("weather", "c1", OSLO), tool_call_delta("clock", "c2", index=1)]
    )
    async with running_daemon(dsn, provider) as chatd:
        chat = await waiting_chat(chatd, provider)
        assert [(tool.name, tool.description) for tool in provider.requests[0].tools] == [
            ("weather", "How it is."),
            ("clock", ""),
        ]
        assert provider.requests[0].tools[0].parameters == SCHEMA
        assert chat["action_deadline"] is not None
        [owned] = await fetch_rows(database, "SELECT worker_id, heartbeat_at FROM chats")
        assert owned == {"worker_id": None, "heartbeat_at": None}
        went_on = await chatd.api.submit_tool_results(chat["id"], {"c2": 12.5, "c1": {"sun": True}})
        assert went_on["action_deadline"] is None
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert results_in(provider.requests[1]) == [
            ("c1", {"sun": True}, False),
            ("c2", 12.5, False),
        ]
        assert provider.requests[1].messages[-1].role is Role.TOOL
        assert await chatd.api.texts(chat["id"]) == ["Let me look. ", "2 results"]
        moves = [entry["transition"] for entry in await chatd.journal(chat["id"])]
        assert moves[2:] == ["require_action", "submit_tool_results", "claim", "finish_turn"]
        turns = [line["outcome"] for line in chatd.logged("chat.turn")]
        assert turns == ["requires_action", "finished"]
        journal = str(await chatd.journal(chat["id"]))
        assert "Oslo" not in journal, "arguments are what was said, and no news"
        assert not [line for line in chatd.logs if "Oslo" in str(line)]


async def test_action_required_reaches_streams_on_every_replica(dsn: str) -> None:
    provider = calling_provider(
        [tool_call_delta("weather", "c1", OSLO), tool_call_delta("no such", "c2", index=1)]
    )
    async with running_daemons(dsn, [provider, provider]) as daemons:
        chat = await daemons[0].api.create(tools=TOOLS)
        views = [ChatView(), ChatView()]

        async def follow(number: int, status: str) -> None:
            view = views[number]
            await daemons[number].api.follow(chat["id"], view, lambda view: view.status == status)

        followers = [asyncio.create_task(follow(n, "requires_action")) for n in range(2)]
        await eventually(lambda: all(view.status for view in views))
        await daemons[0].api.send(chat["id"], "go")
        await asyncio.gather(*followers)
        call = {"tool_call_id": "c1", "tool_name": "weather", "args": OSLO, "kind": "result"}
        deadlines = set()
        for view in views:
            [asked] = [event.data for event in view.events if event.event == "action_required"]
            assert call.items() <= asked["calls"][0].items()
            assert asked["calls"][0]["expires_at"] == asked["deadline"]
            deadlines.add(asked["deadline"])
            last = [event.event for event in view.events[-3:]]
            assert last == ["message", "action_required", "status"]
        assert len(deadlines) == 1
        late = ChatView()
        await daemons[1].api.follow(chat["id"], late, lambda view: view.status is not None)
        [late_call] = late.events[0].data["action_required"]["calls"]
        assert call.items() <= late_call.items()
        await daemons[1].api.submit_tool_results(chat["id"], {"c1": "sunny"})
        await follow(0, "waiting")
        assert list(views[0].messages.values())[-1] == "2 results"
        shown = [e.data for e in views[0].events if e.event == "message"]
        assert [m["role"] for m in shown] == ["user", "assistant", "tool", "assistant"]
        fresh = ChatView()
        await daemons[0].api.follow(chat["id"], fresh, lambda view: view.status is not None)
        assert fresh.events[0].data["action_required"] is None


async def test_unknown_tools_get_errors_and_the_client_gets_the_rest(dsn: str) -> None:
    calls = [tool_call_delta("weather", "c1"), tool_call_delta("no such", "c2", index=1)]
    provider = calling_provider([calls[1]], [*calls, tool_call_delta("clock", "c3", index=2)])
    async with running_daemon(dsn, provider) as chatd:
        chat = await chatd.api.create("go", tools=TOOLS)
        await chatd.api.wait_for_status(chat["id"], "requires_action")
        await chatd.api.submit_tool_results(chat["id"], {"c1": 1, "c3": 3})
        await chatd.api.wait_for_status(chat["id"], "waiting")
        missing = "There is no tool named no such."
        assert results_in(provider.requests[2]) == [
            ("c2", missing, True),
            ("c1", 1, False),
            ("c2", missing, True),
            ("c3", 3, False),
        ]


async def test_duplicate_and_invalid_call_ids_are_made_unique(dsn: str) -> None:
    ids = ["same", "same", "", "x" * 5000]
    provider = calling_provider(
        [tool_call_delta("weather", one, index=n) for n, one in enumerate(ids)],
        [tool_call_delta("weather", "same")],
    )
    async with running_daemon(dsn, provider) as chatd:
        chat = await waiting_chat(chatd, provider)
        view = ChatView()
        await chatd.api.follow(chat["id"], view, lambda view: view.status is not None)
        asked = [call["tool_call_id"] for call in view.events[0].data["action_required"]["calls"]]
        assert len(set(asked)) == 4
        assert asked[0] == "same"
        assert all(0 < len(one) <= 200 for one in asked)
        await chatd.api.submit_tool_results(chat["id"], {one: n for n, one in enumerate(asked)})
        await eventually(lambda: chatd.journal(chat["id"], "submit_tool_results"))
        await chatd.api.wait_for_status(chat["id"], "requires_action")
        await chatd.api.submit_tool_results(chat["id"], {"same": 4})
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert await results_of_all_calls(chatd, chat["id"]) == [0, 1, 2, 3, 4]


async def test_overdue_tool_calls_get_errors(dsn: str) -> None:
    provider = calling_provider(
        [tool_call_delta("weather", "c1"), tool_call_delta("clock", "c2", index=1)]
    )
    brisk = {"reap_interval_seconds": 0.05}
    async with running_daemon(
        dsn, provider, worker=brisk, turn={"client_tool_timeout_seconds": 0.05}
    ) as chatd:
        chat = await chatd.api.create("go", tools=TOOLS)
        await chatd.api.wait_for_status(chat["id"], "waiting")
        expected = [("c1", "timed out", True), ("c2", "timed out", True)]
        assert results_in(provider.requests[1]) == expected
        assert len(await chatd.journal(chat["id"], "expire_action")) == 1
        assert len(chatd.logged("chat.action_expired")) == 1
        answer = await chatd.api.http.post(
            f"/api/v1/chats/{chat['id']}/tool-results",
            json={"results": [{"tool_call_id": "c1", "result": 1}]},
        )
        assert (answer.status_code, answer.json()["code"]) == (409, "no_action_required")


async def test_interrupt_while_waiting_for_results_closes_the_calls(dsn: str) -> None:
    provider = calling_provider(
        [tool_call_delta("weather", "c1"), tool_call_delta("clock", "c2", index=1)]
    )
    async with running_daemon(dsn, provider) as chatd:
        chat = await waiting_chat(chatd, provider)
        stopped = await chatd.api.interrupt(chat["id"])
        assert (stopped["status"], stopped["action_deadline"]) == ("waiting", None)
        assert len(provider.requests) == 1
        await chatd.api.send(chat["id"], "and now?")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        expected = [("c1", "cancelled", True), ("c2", "cancelled", True)]
        assert results_in(provider.requests[1]) == expected
        assert await results_of_all_calls(chatd, chat["id"]) == ["cancelled"] * 2


async def test_interrupting_message_closes_the_calls(dsn: str) -> None:
    provider = calling_provider([tool_call_delta("weather", "c1")])
    async with running_daemon(dsn, provider) as chatd:
        chat = await waiting_chat(chatd, provider)
        queued = await chatd.api.send(chat["id"], "later")
        assert queued["queued"] is True
        sent = await chatd.api.send(chat["id"], "now", busy_behavior="interrupt")
        assert sent["queued"] is False
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert await results_of_all_calls(chatd, chat["id"]) == ["cancelled"]
        assert await chatd.api.texts(chat["id"], "user") == ["go", "now", "later"]


@pytest.mark.parametrize("name", ["weather", "no such"])
async def test_interrupt_before_the_calls_are_stored_leaves_none_open(dsn: str, name: str) -> None:
    """The response is stored, with a result for each call."""
    provider = calling_provider(
        [tool_call_delta(name, "c1"), tool_call_delta("no such", "c2", index=1)]
    )
    async with running_daemon(dsn, provider) as chatd:
        turns, chats = chatd.daemon.services.store.turns, chatd.daemon.services.store.chats
        apply = turns.apply

        async def interrupt_first(fence: FencingToken, command: WorkerCommand) -> TransitionResult:
            if isinstance(command, RequireAction | CommitStep):
                await chats.interrupt(fence.chat_id, owner_id="local")
            return await apply(fence, command)

        turns.apply = interrupt_first  # type: ignore[method-assign]
        chat = await chatd.api.create("go", tools=TOOLS)
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert await results_of_all_calls(chatd, chat["id"]) == ["cancelled"] * 2
        turns.apply = apply  # type: ignore[method-assign]
        await chatd.api.send(chat["id"], "and now?")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert (await chatd.api.texts(chat["id"]))[-1] == "2 results"


async def test_lost_require_action_response_is_not_repeated(dsn: str) -> None:
    provider = calling_provider([tool_call_delta("weather", "c1")])
    async with running_daemon(dsn, provider) as chatd:
        turns = chatd.daemon.services.store.turns
        apply = turns.apply

        async def lose_response(fence: FencingToken, command: WorkerCommand) -> None:
            assert isinstance(command, RequireAction)
            turns.apply = apply  # type: ignore[method-assign]
            await apply(fence, command)
            raise DatabaseUnavailable

        turns.apply = lose_response  # type: ignore[assignment,method-assign]
        chat = await waiting_chat(chatd, provider)
        assert len(await chatd.journal(chat["id"], "require_action")) == 1
        await chatd.api.submit_tool_results(chat["id"], {"c1": 1})
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert await results_of_all_calls(chatd, chat["id"]) == [1]
        assert len(provider.requests) == 2


async def test_chat_claimed_with_open_tool_calls_waits_again(dsn: str, database: Database) -> None:
    """The stored history ends with a call of the client's tool: the model is not called a second time."""
    provider = calling_provider([])
    async with running_daemon(dsn, worker={"enabled": False}) as front:
        chat = await front.api.create("go", tools=TOOLS)
    await database.fetch(
        "INSERT INTO chat_messages (chat_id, id, version, role, content)"
        " SELECT $1, max(id) + 1, 1, 'assistant', $2 FROM chat_messages WHERE chat_id = $1",
        chat["id"],
        [tool_call_delta("no such", "c0").part, tool_call_delta("weather", "c1").part],
    )
    async with running_daemon(dsn, provider) as chatd:
        await chatd.api.wait_for_status(chat["id"], "requires_action")
        assert provider.requests == []
        await chatd.api.submit_tool_results(chat["id"], {"c1": 1})
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert len(await results_of_all_calls(chatd, chat["id"])) == 2
        assert len(provider.requests) == 1


async def test_interrupt_of_a_chat_claimed_with_open_tool_calls_closes_them(
    dsn: str, database: Database
) -> None:
    async with running_daemon(dsn, calling_provider([])) as chatd:
        turns, chats = chatd.daemon.services.store.turns, chatd.daemon.services.store.chats
        apply = turns.apply

        async def interrupt_first(fence: FencingToken, command: WorkerCommand) -> TransitionResult:
            if isinstance(command, RequireAction):
                await chats.interrupt(fence.chat_id, owner_id="local")
            return await apply(fence, command)

        turns.apply = interrupt_first  # type: ignore[method-assign]
        chatd.daemon.chat_tasks.stop_claiming()
        chat = await chatd.api.create("go", tools=TOOLS)
        await database.fetch(
            "INSERT INTO chat_messages (chat_id, id, version, role, content)"
            " SELECT $1, max(id) + 1, 1, 'assistant', $2 FROM chat_messages WHERE chat_id = $1",
            chat["id"],
            [tool_call_delta("weather", "c1").part],
        )
        chatd.daemon.chat_tasks._draining = False
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert await results_of_all_calls(chatd, chat["id"]) == ["cancelled"]
