"""A chat that waits for its client needs no process: all of them may die meanwhile."""

from pathlib import Path

import pytest
from support.database_inspector import inspect_database
from support.processes import chatd_process
from support.sse_client import client

SCRIPTS = """
[providers.fake]
kind = "scripted"
[[providers.fake.script]]
tool_call = { name = "weather", args = { city = "Oslo" } }
calls = [1]
[[providers.fake.script]]
text = "Well then."
calls = [2]
[models.fake]
provider = "fake"
model = "fake-1"
"""
TOOLS = [{"name": "weather", "parameters": {"type": "object"}}]


@pytest.mark.parametrize("in_time", [True, False], ids=["results", "deadline"])
async def test_tool_results_after_kill_continue_the_turn(
    tmp_path: Path, dsn: str, in_time: bool
) -> None:
    settings = (
        ""
        if in_time
        else "[turn]\nclient_tool_timeout_seconds = 0.2\n[worker]\nreap_interval_seconds = 60\n"
    )
    with chatd_process(tmp_path, dsn, name="a", settings=settings, scripts=SCRIPTS) as first:
        await first.wait_until_ready()
        async with client(first) as api:
            chat = await api.create("go", tools=TOOLS)
            asked = await api.wait_for_status(chat["id"], "requires_action")
        first.kill()
    async with inspect_database(dsn) as stored:
        assert await stored.transitions(chat["id"]) == ["create", "claim", "require_action"]
    with chatd_process(tmp_path, dsn, name="b", scripts=SCRIPTS) as second:
        await second.wait_until_ready()
        async with client(second) as api:
            if in_time:
                assert await api.chat(chat["id"]) == asked
                [call] = [
                    part
                    for part in (await api.messages(chat["id"]))[-1]["content"]
                    if part["type"] == "tool-call"
                ]
                await api.submit_tool_results(chat["id"], {call["tool_call_id"]: "sunny"})
            await api.wait_for_status(chat["id"], "waiting")
            messages = await api.messages(chat["id"])
            assert [m["role"] for m in messages] == ["user", "assistant", "tool", "assistant"]
            [result] = messages[2]["content"]
            assert result["result"] == ("sunny" if in_time else "timed out")
            assert await api.texts(chat["id"]) == ["", "Well then."]
    async with inspect_database(dsn) as stored:
        moves = await stored.transitions(chat["id"])
        ended = "submit_tool_results" if in_time else "expire_action"
        assert moves[3:] == [ended, "claim", "finish_turn"]
