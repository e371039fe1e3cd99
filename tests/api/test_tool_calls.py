"""The ledger of tool calls as callers read it, by its own route and in explain."""

import asyncio
from typing import Any

from support.client_tools import TOOLS, provider_of_rounds
from support.eventually import eventually
from support.in_process import InProcessDaemon, running_daemon
from support.requests import assert_problem
from support.tool_endpoint import ToolCallRequest, response, tool_endpoint, tools

FACTS = ("tool_name", "executor", "policy", "state", "tries", "is_error")


async def calls_of(chatd: InProcessDaemon, chat_id: str, **params: Any) -> dict[str, Any]:
    answer = await chatd.api.http.get(f"/api/v1/chats/{chat_id}/tool-calls", params=params)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_calls_have_their_states_while_they_run_and_later(dsn: str) -> None:
    ends = asyncio.Event()

    async def answer(request: ToolCallRequest) -> bytes:
        if request.target == "/pay":
            await ends.wait()
        return response("ok")

    rounds = [("pay", "{}"), ("look", "{}"), ("missing", "{}"), ("weather", "{}")], [("look", "{}")]
    async with (
        tool_endpoint(answer) as endpoint,
        running_daemon(dsn, provider_of_rounds(*rounds), **tools(endpoint)) as chatd,
    ):
        chat_id = (await chatd.api.create("go", tools=TOOLS))["id"]

        async def calls() -> list[tuple[Any, ...]]:
            items = (await calls_of(chatd, chat_id))["items"]
            return [tuple(call[fact] for fact in FACTS) for call in items]

        looked = ("look", "server", "idempotent", "closed", 1, False)
        await eventually(lambda: _contains(calls, looked))
        assert await calls() == [
            ("pay", "server", "at_most_once", "started", 1, None),
            looked,
            ("missing", "server", "at_most_once", "closed", 0, True),
            ("weather", "client", "at_most_once", "asked", 0, None),
        ]
        explained = (await chatd.api.http.get(f"/api/v1/chats/{chat_id}/explain")).json()
        assert [call["tool_name"] for call in explained["open_calls"]] == ["pay", "weather"]
        reasons = {reason["code"]: reason["text"] for reason in explained["reasons"]}
        assert "pay (for " in reasons["tool_calls_running"]
        ends.set()
        await chatd.api.wait_for_status(chat_id, "requires_action")
        weather = (await calls_of(chatd, chat_id))["items"][3]
        assert (weather["state"], weather["tries"], weather["completed_at"]) == ("asked", 0, None)
        assert 0 <= weather["seconds"] < 60
        await chatd.api.submit_tool_results(chat_id, {"c3": "sunny"})
        await chatd.api.wait_for_status(chat_id, "waiting")
        closed = (await calls_of(chatd, chat_id))["items"]
        assert [call["state"] for call in closed] == ["closed"] * 5
        assert all(call["completed_at"] and 0 <= call["seconds"] < 60 for call in closed)


async def _contains(read: Any, row: object) -> bool:
    return row in await read()


async def test_pages_have_all_calls_of_a_message(dsn: str) -> None:
    rounds = [[("look", "{}")] * 3, [("look", "{}")] * 2, [("look", "{}")]]
    async with (
        tool_endpoint() as endpoint,
        running_daemon(dsn, provider_of_rounds(*rounds), **tools(endpoint)) as chatd,
    ):
        chat_id = (await chatd.api.create("go"))["id"]
        await chatd.api.wait_for_status(chat_id, "waiting")
        sizes, cursor = [], "0"
        while cursor is not None:
            page = await calls_of(chatd, chat_id, limit=2, after_id=cursor)
            sizes.append([call["tool_call_id"] for call in page["items"]])
            cursor = page["next_cursor"]
        assert sizes == [["c0", "c1", "c2"], ["c0", "c1"], ["c0"]]
        [first, *_] = await chatd.api.messages(chat_id)
        path = f"/api/v1/chats/{chat_id}/messages/{first['id']}"
        assert (await chatd.api.http.patch(path, json={"content": "else"})).status_code == 200
        await chatd.api.wait_for_status(chat_id, "waiting")
        assert len((await calls_of(chatd, chat_id))["items"]) == 6, (
            "those of hidden messages are not"
        )
        unknown = await chatd.api.http.get(
            "/api/v1/chats/00000000-0000-0000-0000-000000000000/tool-calls"
        )
        assert_problem(unknown, 404, "chat_not_found")
