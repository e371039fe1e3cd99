"""Choice of a chat among the tools of the server."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from support.client_tools import TOOLS, calling_provider
from support.in_process import InProcessDaemon, running_daemon
from support.mcp_servers import program_settings
from support.providers import FunctionProvider, tool_call_delta
from support.requests import assert_problem
from support.tool_endpoint import tool_endpoint, tools

CHATS = "/api/v1/chats"


async def offered(chatd: InProcessDaemon, provider: FunctionProvider, **chat: Any) -> list[str]:
    """Return the names of the tools that the model of a new chat is offered."""
    created = await chatd.api.create("go", **chat)
    await chatd.api.wait_for_status(created["id"], "waiting")
    return [tool.name for tool in provider.requests[-1].tools]


@asynccontextmanager
async def running(dsn: str, provider: FunctionProvider) -> AsyncIterator[InProcessDaemon]:
    """Run a daemon with two servers, two HTTP tools, and one of each that must be chosen."""
    async with tool_endpoint() as endpoint:
        configured = tools(
            endpoint,
            mcp={
                "one": program_settings(tools=["echo", "fail"]),
                "two": program_settings(tools=["echo"]),
                "rare": program_settings(tools=["echo"], default=False),
            },
        )
        rare = {**configured["http_tools"]["look"], "default": False}
        configured["http_tools"]["rare"] = rare
        async with running_daemon(dsn, provider, **configured) as chatd:
            yield chatd


async def test_chat_has_what_it_chose_in_the_order_of_names(dsn: str) -> None:
    provider = calling_provider([])
    http, mcp = ["look", "pay"], ["one__echo", "one__fail", "two__echo"]
    async with running(dsn, provider) as chatd:
        for choice, expected in [
            (None, [*http, *mcp]),
            ({}, [*http, *mcp]),
            ({"mcp": []}, http),
            ({"http": []}, mcp),
            ({"mcp": [], "http": []}, []),
            ({"mcp": ["two", "rare", "two"], "http": ["pay"]}, ["pay", "rare__echo", "two__echo"]),
            ({"http": ["rare"]}, [*mcp, "rare"]),
        ]:
            assert await offered(chatd, provider, server_tools=choice) == sorted(expected)
        choice = {"mcp": [], "http": ["pay"]}
        both = await offered(chatd, provider, tools=TOOLS, server_tools=choice)
        assert both == ["pay", "weather", "clock"]


async def test_call_of_a_tool_that_was_not_chosen_is_answered_as_unknown(dsn: str) -> None:
    provider = calling_provider([tool_call_delta("pay", "c1")])
    async with (
        tool_endpoint() as endpoint,
        running_daemon(dsn, provider, **tools(endpoint)) as chatd,
    ):
        await offered(chatd, provider, server_tools={"http": ["look"]})
        assert not endpoint.requests


async def test_choice_is_shown_and_unknown_names_are_refused_and_named(dsn: str) -> None:
    async with running(dsn, calling_provider([])) as chatd:
        for choice, named in [
            ({"mcp": ["one", "nobody", "none"]}, "mcp: this server has no nobody, none"),
            ({"http": ["one"]}, "http: this server has no one"),
            ({"files": []}, "files"),
            ({"mcp": ["x" * 65]}, "mcp.0"),
            ({"mcp": ["one"] * 101}, "mcp"),
        ]:
            answer = await chatd.api.http.post(CHATS, json={"server_tools": choice})
            assert_problem(answer, 422, "invalid_request", f"body.server_tools.{named}")
        chat = await chatd.api.create(server_tools={"mcp": ["two", "one", "two"]})
        assert chat["server_tools"] == {"mcp": ["one", "two"]}
        assert await chatd.api.chat(chat["id"]) == chat
        assert (await chatd.api.create())["server_tools"] is None
        explained = (await chatd.api.http.get(f"{CHATS}/{chat['id']}/explain")).json()
        assert explained["server_tools"] == {"mcp": ["one", "two"]}
        assert explained["missing_server_tools"] == {}


async def test_chat_outlives_the_servers_and_tools_that_it_chose(dsn: str) -> None:
    provider = calling_provider([])
    async with tool_endpoint() as endpoint:
        configured = tools(endpoint, mcp={"one": program_settings(tools=["echo"])})
        async with running_daemon(dsn, provider, **configured) as chatd:
            choice = {"mcp": ["one"], "http": ["pay"]}
            chat = await chatd.api.create("go", server_tools=choice)
            await chatd.api.wait_for_status(chat["id"], "waiting")
        del configured["http_tools"]["pay"]
        async with running_daemon(dsn, provider, **{**configured, "mcp": {}}) as chatd:
            await chatd.api.send(chat["id"], "again")
            chat = await chatd.api.wait_for_status(chat["id"], "waiting")
            assert not provider.requests[-1].tools
            assert chat["server_tools"] == choice
            explained = (await chatd.api.http.get(f"{CHATS}/{chat['id']}/explain")).json()
            assert explained["missing_server_tools"] == choice


async def test_turn_waits_for_no_server_that_its_chat_did_not_choose(
    dsn: str, tmp_path: Path
) -> None:
    provider = calling_provider([])
    mcp = {
        "bad": program_settings("black hole", tmp_path, connect_seconds=30.0),
        "worse": program_settings("black hole", tmp_path, connect_seconds=30.0, default=False),
    }
    async with running_daemon(dsn, provider, mcp=mcp) as chatd:
        began = time.monotonic()
        assert await offered(chatd, provider, server_tools={"mcp": []}) == []
        assert time.monotonic() - began < 5.0
