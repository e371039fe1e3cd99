"""MCP servers that a reload brings, changes and takes away."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
from support.client_tools import calling_provider
from support.eventually import eventually
from support.in_process import InProcessDaemon, running_daemon
from support.mcp_servers import living, program_settings
from support.providers import FunctionProvider, finished, text_delta, tool_call_delta

from chatd.daemon.tools import mcp_servers_from_settings
from chatd.llm.provider import Delta, ModelRequest
from chatd.settings import Settings


def folder_of(tmp_path: Path, name: str) -> Path:
    folder = tmp_path / name
    folder.mkdir()
    return folder


def reload(chatd: InProcessDaemon, **mcp: Any) -> None:
    """Put a configuration with these servers in force, as a reload does."""
    configs = mcp_servers_from_settings(Settings.model_validate({"mcp": mcp}))
    # Not ``replace`` of the holder, which configures the log, too.
    holder = chatd.daemon.config
    holder.current = replace(holder.current, mcp=configs)
    chatd.daemon._replace_mcp_servers(holder.current)


async def offered(chatd: InProcessDaemon, provider: FunctionProvider) -> list[str]:
    chat = await chatd.api.create("go")
    await chatd.api.wait_for_status(chat["id"], "waiting")
    return [tool.name for tool in provider.requests[-1].tools]


async def test_servers_come_and_go_and_others_keep_running(dsn: str, tmp_path: Path) -> None:
    folders = {name: folder_of(tmp_path, name) for name in ("stays", "goes", "comes")}
    stays, goes, comes = (
        program_settings("none", folder, tools=["echo"]) for folder in folders.values()
    )
    provider = calling_provider([])
    async with running_daemon(dsn, provider, mcp={"stays": stays, "goes": goes}) as chatd:
        assert await offered(chatd, provider) == ["goes__echo", "stays__echo"]
        before = living(folders["stays"])
        reload(chatd, stays=stays, comes=comes)
        assert await offered(chatd, provider) == ["comes__echo", "stays__echo"]
        await eventually(lambda: not living(folders["goes"]))
        assert living(folders["stays"]) == before
        actors = [actor.name for actor in chatd.daemon.supervisor.snapshot()]
        place = actors.index("chats")
        assert actors[place - 2 : place] == ["mcp stays", "mcp comes"]
        reload(chatd, stays={**stays, "tools": ["echo", "fail"]})
        assert await offered(chatd, provider) == ["stays__echo", "stays__fail"]
        await eventually(lambda: len(living(folders["stays"])) == 1)
        assert living(folders["stays"]) != before
    assert not any(map(living, folders.values()))


async def test_call_that_runs_ends_and_later_ones_of_the_turn_say_why(dsn: str) -> None:
    """The tools of a turn do not change, so the server may be away by the next call."""

    async def act(request: ModelRequest) -> AsyncIterator[Delta]:
        calls = sum(message.role.value == "assistant" for message in request.messages)
        if calls < 2:
            args = '{"seconds": 0.5}' if calls == 0 else "{}"
            yield tool_call_delta(f"srv__{'sleep' if calls == 0 else 'echo'}", f"c{calls}", args)
            yield finished("tool_call")
        else:
            yield text_delta("done")
            yield finished()

    async with running_daemon(dsn, FunctionProvider(act), mcp={"srv": program_settings()}) as chatd:
        chat = await chatd.api.create("go")
        server = chatd.daemon.services.mcp.servers[0]
        await eventually(lambda: server._running)
        reload(chatd)
        await chatd.api.wait_for_status(chat["id"], "waiting")
        results = [
            part["result"]
            for message in await chatd.api.messages(chat["id"])
            for part in message["content"]
            if part["type"] == "tool-result"
        ]
        assert results == [
            "slept",
            "MCP server srv is not configured any more. The tool was not called.",
        ]


async def test_stop_waits_for_no_server_that_leaves(dsn: str, tmp_path: Path) -> None:
    provider = calling_provider([tool_call_delta("srv__sleep", "c1")])
    settings = program_settings("stays", tmp_path)
    async with running_daemon(
        dsn, provider, mcp={"srv": settings}, worker={"shutdown_grace_seconds": 0.1}
    ) as chatd:
        await chatd.api.create("go")
        await eventually(lambda: chatd.daemon.services.mcp.servers[0]._running)
        reload(chatd)
        with anyio.fail_after(15):
            await chatd.stop()
    assert not living(tmp_path)
