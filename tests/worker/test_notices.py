"""Notices: people learn from the stream and the journal which servers a turn did without."""

from pathlib import Path
from typing import Any

import pytest
from support.client_tools import TOOLS, calling_provider
from support.in_process import InProcessDaemon, running_daemon
from support.mcp_servers import program_settings
from support.providers import tool_call_delta
from support.sse_client import ChatView
from support.tool_endpoint import tool_endpoint, tools

from chatd.client import Client, NoticesGiven
from chatd.domain.notice import MAX_NOTICE_LENGTH, MAX_NOTICES, Notice, notices_json

ABSENT = {"command": "/no/such/program"}
NOTICE = {
    "server": "bad",
    "message": "MCP server bad is not available: its command was not found",
}


async def noticed(chatd: InProcessDaemon, chat_id: str) -> dict[str, Any]:
    """Return the notices in the journal of a chat, by transition."""
    return {
        entry["transition"]: entry["data"]["notices"]
        for entry in await chatd.journal(chat_id)
        if "notices" in entry["data"]
    }


async def test_turn_tells_once_which_of_its_servers_are_unavailable(dsn: str) -> None:
    provider = calling_provider([tool_call_delta("pay", "c1")])
    mcp = {"bad": ABSENT, "rare": {**ABSENT, "default": False}}
    async with (
        tool_endpoint() as endpoint,
        running_daemon(dsn, provider, **tools(endpoint, mcp=mcp)) as chatd,
    ):
        chat = await chatd.api.create("go")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert await noticed(chatd, chat["id"]) == {"commit_step": [NOTICE]}
        prompts = [message.content for request in provider.requests for message in request.messages]
        assert "bad" not in str(prompts), "a line of the prompt would void the provider's cache"
        chosen = await chatd.api.create("go", server_tools={"mcp": []})
        await chatd.api.wait_for_status(chosen["id"], "waiting")
        assert await noticed(chatd, chosen["id"]) == {}


async def test_stream_and_its_resumption_have_the_notices(dsn: str) -> None:
    async with running_daemon(dsn, calling_provider([]), mcp={"bad": ABSENT}) as chatd:
        chat = await chatd.api.create()
        view = ChatView()
        await chatd.api.follow(chat["id"], view, lambda view: view.status is not None)
        cursor = view.events[-1].id
        await chatd.api.send(chat["id"], "go")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert await noticed(chatd, chat["id"]) == {"finish_turn": [NOTICE]}
        url = f"http://127.0.0.1:{chatd.daemon.port}"
        async with Client(url) as client, client.follow(chat["id"], after=cursor) as events:
            async for event in events:
                if isinstance(event, NoticesGiven):
                    assert event.data == {"notices": [NOTICE]}
                    break
            else:
                pytest.fail("there were no notices")


async def test_notices_come_with_a_question_to_the_client(dsn: str) -> None:
    provider = calling_provider([tool_call_delta("weather", "c1", '{"city": "Oslo"}')])
    async with running_daemon(dsn, provider, mcp={"bad": ABSENT}) as chatd:
        chat = await chatd.api.create("go", tools=TOOLS)
        await chatd.api.wait_for_status(chat["id"], "requires_action")
        assert await noticed(chatd, chat["id"]) == {"require_action": [NOTICE]}


async def test_server_that_is_known_and_ends_is_told_of_too(dsn: str, tmp_path: Path) -> None:
    """Its tools are still offered, so that the prompt does not change, and calls of them fail."""
    script = tmp_path / "server"
    settings = program_settings(tools=["echo", "exit"])
    script.symlink_to(settings["command"])
    settings["command"] = str(script)
    provider = calling_provider([tool_call_delta("srv__exit", "c1")])
    async with running_daemon(dsn, provider, mcp={"srv": settings}) as chatd:
        given = []
        for _ in range(3):
            chat = await chatd.api.create("go")
            await chatd.api.wait_for_status(chat["id"], "waiting")
            script.unlink(missing_ok=True)
            given.append(await noticed(chatd, chat["id"]))
        reason = "MCP server srv is not available: its command was not found"
        notice = {"server": "srv", "message": reason}
        assert given == [{}, {}, {"commit_step": [notice]}]
        assert [tool.name for tool in provider.requests[-1].tools] == ["srv__echo", "srv__exit"]


def test_notices_are_bounded() -> None:
    many = [Notice(server=f"s{number}", message="x" * 1000) for number in range(100)]
    notices = notices_json(many)["notices"]
    assert (len(notices), len(notices[0]["message"])) == (MAX_NOTICES, MAX_NOTICE_LENGTH)
    assert notices_json([]) == {}
