"""Chats that models start, and wait for."""

import re
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from support.agents import ENABLED, call, id_of, results, say, spawn, wait
from support.client_tools import calling_provider
from support.eventually import eventually
from support.in_process import InProcessDaemon, running_daemon
from support.metrics import scrape
from support.providers import scripted
from support.requests import assert_problem
from support.sse_client import ApiClient, text_of

from chatd.cli.formatting import chat_rows, utc_now
from chatd.daemon.catalog import catalog_from_settings
from chatd.settings import Settings

GUIDE = (Path(__file__).parents[2] / "docs/guides/agents.md").read_text()

SCRIPTS: dict[str, Any] = {
    "family": [
        spawn(1, "a", "[[child]] a"),
        spawn(1, "b", "[[broken]] b"),
        wait(2, "a", "b"),
        say(3, "{result}"),
    ],
    "child": [say(1, "I did {message}.")],
    "broken": [{"error": {"status": 400, "message": "no such thing"}}],
    "hanging": [{"hang": True}],
    "any": [
        spawn(1, "a", "[[child]] a"),
        spawn(1, "b", "[[hanging]]"),
        wait(2, "a", "b", until="any"),
        say(3, "{result}"),
    ],
    "impatient": [
        spawn(1, "a", "[[hanging]]"),
        wait(2, "a", seconds=0.05),
        call("interrupt_agent", 3, id=id_of("a")),
        wait(4, "a"),
        call("list_agents", 5),
        say(6, "Enough."),
    ],
    "again": [
        spawn(1, "a", "[[child]] a"),
        wait(2, "a"),
        call("message_agent", 3, id=id_of("a"), text="[[child]] more"),
        wait(4, "a"),
        say(5, "{result:wait_agent4:agents.0.answer}"),
    ],
    "bare": [spawn(1, "a", "[[child]] a", tools=[]), wait(2, "a"), say(3, "Done.")],
    "patient": [spawn(1, "a", "[[hanging]]"), wait(2, "a"), say(3, "Done.")],
    "grandparent": [spawn(1, "a", "[[patient]]"), wait(2, "a"), say(3, "Done.")],
    "told": [
        {"tool_call": {"name": "wait_agent", "id": "w", "args": "{message}"}, "calls": [1]},
        say(2, "Oh."),
    ],
    "mistaken": [
        spawn(1, "model", "hi", model="other"),
        spawn(1, "tools", "hi", tools=["mail"]),
        wait(1, "nobody"),
        call("wait_agent", 1, "stranger", ids=["00000000-0000-0000-0000-000000000001"]),
        call("message_agent", 1, id="00000000-0000-0000-0000-000000000001", text="hi"),
        call("interrupt_agent", 1, id="x"),
        say(2, "Oh."),
    ],
}


@asynccontextmanager
async def chatd(dsn: str, **sections: Any) -> AsyncIterator[InProcessDaemon]:
    provider = scripted(**SCRIPTS)
    async with running_daemon(dsn, provider, **{**ENABLED, **sections}) as daemon:
        yield daemon


async def finish(api: ApiClient, chat_id: str, status: str = "waiting") -> dict[str, Any]:
    """Return the results of the chat's tools, when it is idle."""
    await api.wait_for_status(chat_id, status)
    return results(await api.messages(chat_id))


async def children(api: ApiClient, chat_id: str) -> list[dict[str, Any]]:
    """Return the children of a chat in the order of their titles."""
    answer = await api.http.get("/api/v1/chats", params={"parent": chat_id})
    return sorted(answer.json()["items"], key=lambda chat: chat["title"])


async def test_chat_waits_for_the_chats_that_it_started(dsn: str) -> None:
    async with chatd(dsn) as daemon:
        chat = await daemon.api.create("[[family]]", title="root")
        found = await finish(daemon.api, chat["id"])
        a, b = await children(daemon.api, chat["id"])
        assert [(c["title"], c["status"], c["root_chat_id"]) for c in (a, b)] == [
            ("a", "waiting", chat["id"]),
            ("b", "error", chat["id"]),
        ]
        assert found["a"] == {"id": a["id"], "name": "a", "state": "working"}
        report = found["wait_agent2"]
        assert report["timed_out"] is False
        assert [(agent["id"], agent["state"]) for agent in report["agents"]] == [
            (a["id"], "idle"),
            (b["id"], "failed"),
        ]
        assert report["agents"][0]["answer"] == "I did a."
        assert "no such thing" in report["agents"][1]["error"]
        last = (await daemon.api.messages(chat["id"]))[-1]
        assert "I did a." in text_of(last["content"])
        transitions = [entry["transition"] for entry in await daemon.journal(chat["id"])]
        assert transitions[-4:] == ["park", "wake", "claim", "finish_turn"]
        assert len(daemon.logged("chat.turn", outcome="parked")) == 1
        assert (await scrape(daemon)).sum_of("chatd_agents_started_total") == 2


async def test_example_of_the_guide(dsn: str) -> None:
    blocks = re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL)
    [config] = [block for block in blocks if "[models." in block]
    settings = Settings.model_validate(tomllib.loads(config))
    catalog = catalog_from_settings(settings)
    provider = catalog.provider_of(catalog.default)
    async with running_daemon(dsn, provider, agents=settings.agents.model_dump()) as daemon:
        [message] = re.findall(r'chatd chat "(.*)"', GUIDE)
        chat = await daemon.api.create(message)
        await finish(daemon.api, chat["id"])
        [answer] = re.findall(r"The first prints `(.*?)`", GUIDE)
        assert text_of((await daemon.api.messages(chat["id"]))[-1]["content"]) == answer
        rows = chat_rows([chat, *await children(daemon.api, chat["id"])], utc_now(), tree=True)
        assert [row[0].startswith("  ") for row in rows] == [False, True, True]
        assert [row[-1] for row in rows] == [message, "blue", "red"]


async def test_one_agent_may_be_enough(dsn: str) -> None:
    async with chatd(dsn) as daemon:
        chat = await daemon.api.create("[[any]]")
        found = await finish(daemon.api, chat["id"])
        states = [agent["state"] for agent in found["wait_agent2"]["agents"]]
        assert states == ["idle", "working"]
        assert found["wait_agent2"]["timed_out"] is False


async def test_wait_ends_when_its_time_is_over(dsn: str) -> None:
    async with chatd(dsn) as daemon:
        chat = await daemon.api.create("[[impatient]]")
        found = await finish(daemon.api, chat["id"])
        assert found["wait_agent2"]["timed_out"] is True
        assert found["wait_agent2"]["agents"][0]["state"] == "working"
        assert found["interrupt_agent3"]["state"] in {"stopping", "idle"}
        assert found["wait_agent4"]["agents"][0]["state"] == "idle"
        assert [agent["name"] for agent in found["list_agents5"]["agents"]] == ["a"]


async def test_agent_answers_another_message(dsn: str) -> None:
    async with chatd(dsn) as daemon:
        chat = await daemon.api.create("[[again]]")
        await finish(daemon.api, chat["id"])
        assert text_of((await daemon.api.messages(chat["id"]))[-1]["content"]) == "I did more."


async def test_mistakes_are_results(dsn: str) -> None:
    async with chatd(dsn) as daemon:
        chat = await daemon.api.create("[[mistaken]]")
        found = await finish(daemon.api, chat["id"])
        stranger = "00000000-0000-0000-0000-000000000001"
        assert found == {
            "model": "There is no model 'other'.",
            "tools": "This chat has no tools mail to give. It has: agents.",
            "wait_agent1": "This chat has no agent null.",
            "stranger": {"agents": [{"id": stranger, "state": "deleted"}], "timed_out": False},
            "message_agent1": f"This chat has no agent {stranger}.",
            "interrupt_agent1": "This chat has no agent x.",
        }
        assert await children(daemon.api, chat["id"]) == []


async def test_chat_never_waits_for_itself(dsn: str) -> None:
    async with chatd(dsn) as daemon:
        chat = await daemon.api.create()
        await daemon.api.send(chat["id"], f'[[told]] {{"ids": ["{chat["id"]}"]}}')
        found = await finish(daemon.api, chat["id"])
        assert found == {"w": f"This chat has no agent {chat['id']}."}


async def test_interrupt_stops_the_family(dsn: str) -> None:
    async with chatd(dsn) as daemon:
        api = daemon.api
        chat = await api.create("[[grandparent]]")
        await api.wait_for_status(chat["id"], "parked")
        [child] = await children(api, chat["id"])
        await api.wait_for_status(child["id"], "parked")
        [grandchild] = await children(api, child["id"])
        await api.wait_for_status(grandchild["id"], "running")
        await api.http.post(f"/api/v1/chats/{chat['id']}/interrupt")
        for each in (chat, child, grandchild):
            await api.wait_for_status(each["id"], "waiting")
        found = results(await api.messages(chat["id"]))
        assert found["wait_agent2"] == "Cancelled by the user while it waited."
        assert len(await api.messages(grandchild["id"])) <= 2


async def test_wait_that_a_person_allows_waits(dsn: str) -> None:
    rules = {"tools": {"rules": {"wait_agent": "ask"}}}
    async with chatd(dsn, **rules) as daemon:
        chat = await daemon.api.create("[[again]]")
        for call_id in ("wait_agent2", "wait_agent4"):
            await daemon.api.wait_for_status(chat["id"], "requires_action")
            answers = [{"tool_call_id": call_id, "decision": "allow"}]
            path = f"/api/v1/chats/{chat['id']}/actions"
            await daemon.api.http.post(path, json={"answers": answers})
            await eventually(lambda: daemon.journal(chat["id"], "park"))
        found = await finish(daemon.api, chat["id"])
        assert found["wait_agent4"]["agents"][0]["answer"] == "I did more."


async def test_agent_may_do_no_more_than_the_chats_above_it(dsn: str) -> None:
    """A chat above it may become stricter, or a person may deny a tool for good, while it lives."""
    async with chatd(dsn) as daemon:
        chat = await daemon.api.create("[[again]]")
        await finish(daemon.api, chat["id"])
        [child] = await children(daemon.api, chat["id"])
        await daemon.api.http.patch(
            f"/api/v1/chats/{chat['id']}", json={"permission_mode": "read_only"}
        )
        await daemon.api.send(child["id"], "[[patient]]")
        found = await finish(daemon.api, child["id"])
        assert found["a"] == "This server does not allow spawn_agent here."
        assert await children(daemon.api, child["id"]) == []


async def test_agent_has_the_tools_that_it_is_given(dsn: str) -> None:
    async with chatd(dsn) as daemon:
        chat = await daemon.api.create("[[bare]]")
        await finish(daemon.api, chat["id"])
        [child] = await children(daemon.api, chat["id"])
        assert child["server_tools"] == {"mcp": [], "http": [], "builtin": []}
        await daemon.api.send(child["id"], "[[patient]]")
        found = await finish(daemon.api, child["id"])
        assert found["a"] == "There is no tool named spawn_agent."


async def test_tools_are_offered_where_they_are_switched_on(dsn: str) -> None:
    provider = calling_provider()
    quiet = {"agents": {"enabled": True, "default": False, "max_depth": 1}}
    async with running_daemon(dsn, provider, **quiet) as daemon:
        for choice, offered in ((None, 0), ({"builtin": ["agents"]}, 5)):
            chat = await daemon.api.create("go", server_tools=choice)
            await daemon.api.wait_for_status(chat["id"], "waiting")
            assert len(provider.requests[-1].tools) == offered
        client = {"name": "wait_agent", "description": "mine", "parameters": {"type": "object"}}
        refused = await daemon.api.http.post("/api/v1/chats", json={"tools": [client]})
        assert_problem(refused, 422, "invalid_request", "wait_agent")


async def test_explanation_names_the_chats(dsn: str) -> None:
    async with chatd(dsn) as daemon:
        chat = await daemon.api.create("[[patient]]")
        await daemon.api.wait_for_status(chat["id"], "parked")
        [child] = await children(daemon.api, chat["id"])
        await daemon.api.wait_for_status(child["id"], "running")
        answer = await daemon.api.http.get(f"/api/v1/chats/{chat['id']}/explain")
        [reason] = answer.json()["reasons"]
        assert reason["code"] == "awaiting_agents"
        assert reason["text"].startswith(f"waiting for 1 chat ({child['id']} running) until ")
        assert answer.json()["awaited_chats"] == [{"chat_id": child["id"], "status": "running"}]
