"""Progress of running tools, as streams show it and as results have it."""

import asyncio
import json
from pathlib import Path
from typing import Any

from support.client_tools import calling_provider, results_in, results_of_all_calls
from support.eventually import eventually
from support.in_process import fetch_rows, running_daemon, running_daemons
from support.mcp_servers import program_settings
from support.providers import tool_call_delta
from support.sse_client import ChatView
from support.tool_endpoint import ToolCallRequest, tool_endpoint, tools

from chatd.domain.tool_call_errors import CANCELLED
from chatd.store.database import Database

STEPS = json.dumps({"steps": 3, "pause": 0.3})


def progress_of(view: ChatView) -> list[dict[str, Any]]:
    """Return what a client was sent of the progress of tools, in the order of its arrival."""
    parts: list[dict[str, Any]] = []
    for event in view.events:
        if event.event == "snapshot":
            parts = [*event.data["parts"]]
        elif event.event == "message_part":
            parts.append(event.data)
    return [part for part in parts if part["type"] == "tool-progress"]


def has_last_step(view: ChatView) -> bool:
    return any(part.get("progress") == 3 for part in progress_of(view))


async def test_progress_is_seen_on_every_replica_and_after_a_reconnect(
    dsn: str, database: Database, tmp_path: Path
) -> None:
    provider = calling_provider([tool_call_delta("srv__steps", "c1", STEPS)])
    mcp = {"srv": program_settings("none", tmp_path)}
    async with running_daemons(dsn, [provider, provider], mcp=mcp) as replicas:
        apis = [replica.api for replica in replicas]
        chat = await apis[0].create()
        views = [ChatView(), ChatView()]
        async with asyncio.TaskGroup() as group:
            for api, view in zip(apis, views, strict=True):
                group.create_task(api.follow(chat["id"], view, has_last_step))
            await eventually(lambda: all(view.status for view in views))
            await apis[0].send(chat["id"], "go")
        seen = progress_of(views[0])
        assert seen == progress_of(views[1]), "both replicas send the same"
        assert seen[-1] == {
            "index": 0,
            "type": "tool-progress",
            "tool_call_id": "c1",
            "progress": 3,
            "total": 3,
            "message": "step 3",
        }
        for api in apis:
            fresh = await api.follow(chat["id"], ChatView(), has_last_step)
            assert progress_of(fresh) == seen, "a snapshot has what came before it"
        (tmp_path / "go").touch()
        for api, view in zip(apis, views, strict=True):
            await api.follow(chat["id"], view, lambda view: view.status == "waiting")
            assert progress_of(view) == seen, "nothing is sent twice after a reconnect"
            assert view.messages[max(view.messages)] == "1 results"
        assert await results_of_all_calls(replicas[0], chat["id"]) == ["all steps done"]
        assert not await fetch_rows(database, "SELECT FROM chat_parts")


async def test_tool_that_ends_quickly_publishes_nothing(dsn: str, tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    provider = calling_provider([tool_call_delta("srv__steps", "c1", json.dumps({"steps": 100}))])
    async with running_daemon(
        dsn, provider, mcp={"srv": program_settings("none", tmp_path)}
    ) as chatd:
        chat = await chatd.api.create()
        view = ChatView()
        following = asyncio.create_task(
            chatd.api.follow(chat["id"], view, lambda view: len(view.messages) == 4)
        )
        await eventually(lambda: view.status)
        await chatd.api.send(chat["id"], "go")
        await following
        assert len(progress_of(view)) <= 1, "100 reports"


async def test_interrupt_keeps_what_the_tool_has_put_out_so_far(dsn: str, tmp_path: Path) -> None:
    provider = calling_provider([tool_call_delta("srv__steps", "c1", STEPS)])
    async with running_daemon(
        dsn, provider, mcp={"srv": program_settings("none", tmp_path)}
    ) as chatd:
        chat = await chatd.api.create("go")
        await chatd.api.follow(chat["id"], ChatView(), has_last_step)
        await chatd.api.interrupt(chat["id"])
        await chatd.api.wait_for_status(chat["id"], "waiting", timeout_seconds=1.0)
        assert await results_of_all_calls(chatd, chat["id"]) == [
            f"{CANCELLED['other']} Output so far:\nstep 1\nstep 2\nstep 3\n"
        ]


async def test_slow_endpoint_that_streams_text_is_followed_and_its_text_kept(dsn: str) -> None:
    async def answer(_: ToolCallRequest) -> bytes:
        return (
            b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 100\r\n\r\n"
            b"first \xc3\xa4\x00\xff line"
        )

    provider = calling_provider([tool_call_delta("pay", "c1")])
    section = {"timeout_seconds": 1.0}
    async with (
        tool_endpoint(answer) as endpoint,
        running_daemon(dsn, provider, **tools(endpoint, tools=section)) as chatd,
    ):
        chat = await chatd.api.create()
        view = ChatView()
        following = asyncio.create_task(
            chatd.api.follow(chat["id"], view, lambda view: len(view.messages) == 4)
        )
        await eventually(lambda: view.status)
        await chatd.api.send(chat["id"], "go")
        await following
        assert [part["text"] for part in progress_of(view)] == ["first ä\ufffd\ufffd line"]
        [(_, result, is_error)] = results_in(provider.requests[1])
        assert is_error
        assert result == (
            "Stopped after 1 s. It may have had effects. Output so far:\nfirst ä\ufffd\ufffd line"
        )
