"""``chatd chat`` while server tools run: in a terminal, in a replay, and between pipes."""

import asyncio
import json
import re

from support.client_tools import provider_of_rounds
from support.commands import run_command
from support.eventually import eventually
from support.in_process import running_daemon
from support.pty import terminal
from support.sse_client import ChatView
from support.tool_endpoint import ToolCallRequest, response, tool_endpoint, tools

CALLS = [("pay", '{"note": "rent"}'), ("look", "{}"), ("missing", '{"a": 1}')]


async def test_calls_are_shown_while_they_run_and_again_later(dsn: str) -> None:
    ends = asyncio.Event()

    async def answer(request: ToolCallRequest) -> bytes:
        if request.target == "/pay":
            await ends.wait()
        return response(f"done {request.target}")

    async with (
        tool_endpoint(answer) as endpoint,
        running_daemon(dsn, provider_of_rounds(CALLS), **tools(endpoint)) as chatd,
    ):
        url = str(chatd.api.http.base_url)
        with terminal(url, "chat") as screen:
            await screen.wait_for_text("new chat | ")
            screen.type_keys("go\r")
            await screen.wait_for_text("* pay  note: rent")
            await screen.wait_for_text("  running")
            await eventually(lambda: len(endpoint.requests) == 2)
            assert "done /pay" not in screen.text
            ends.set()
            await screen.wait_for_text("  done /pay")
            await screen.wait_for_text("  done /look")
            await screen.wait_for_text("  failed: There is no tool named missing.")
            [chat] = (await chatd.api.http.get("/api/v1/chats")).json()["items"]
            await chatd.api.wait_for_status(chat["id"], "waiting")
            screen.type_keys("/quit\r")
            assert await screen.wait_for_exit() == 0
        with terminal(url, "chat", chat["id"]) as screen:
            await screen.wait_for_text("* pay  note: rent")
            await screen.wait_for_text("  done /pay")


async def test_answers_go_to_a_file_without_the_calls(dsn: str) -> None:
    async with (
        tool_endpoint() as endpoint,
        running_daemon(dsn, provider_of_rounds(CALLS[:2]), **tools(endpoint)) as chatd,
    ):
        result = await run_command(str(chatd.api.http.base_url), "chat", stdin="go\n")
        assert result.stdout == "done\n"
        assert result.stderr == "pay  note: rent\n  done /pay\nlook\n  done /look\n"


async def test_show_and_tail_print_calls_results_and_the_ledger(dsn: str) -> None:
    async def answer(request: ToolCallRequest) -> bytes:
        return response("in\ntwo lines") if request.target == "/look" else response("", status=402)

    async with (
        tool_endpoint(answer) as endpoint,
        running_daemon(dsn, provider_of_rounds(CALLS[:2]), **tools(endpoint)) as chatd,
    ):
        url, chat = str(chatd.api.http.base_url), await chatd.api.create()
        view = ChatView()
        await chatd.api.follow(chat["id"], view, lambda view: view.status is not None)
        await chatd.api.send(chat["id"], "go")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        shown = (await run_command(url, "show", chat["id"])).stdout
        lines = [re.sub(r"[\d.]+ s$", "N s", line) for line in shown.splitlines()]
        first = lines.index('-> pay {"note": "rent"}')
        assert lines[first : first + 4] == [
            '-> pay {"note": "rent"}',
            "   closed with an error, by the server, at_most_once, 1 try, N s",
            "-> look {}",
            "   closed, by the server, idempotent, 1 try, N s",
        ]
        assert "<- pay, failed\n   The endpoint answered 402: " in shown
        assert "<- look\n   in\n   two lines\n" in shown
        assert "open calls" not in shown
        document = json.loads((await run_command(url, "show", chat["id"], "--json")).stdout)
        assert [call["tool_name"] for call in document["tool_calls"]] == ["pay", "look"]
        after = ("--after", str(view.cursor), "--until-idle")
        tailed = (await run_command(url, "tail", chat["id"], *after)).stdout
        assert "[calls pay  note: rent]" in tailed
        assert "pay failed" in tailed
        assert "[look: in two lines]" in tailed
