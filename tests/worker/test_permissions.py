"""Permissions of a chat, which only make those of the configuration stricter."""

from typing import Any

import pytest
from support.client_tools import calling_provider, results_in
from support.in_process import running_daemon
from support.mcp_servers import program_settings
from support.providers import tool_call_delta
from support.requests import assert_problem
from support.tool_endpoint import tool_endpoint, tools

PAY = tool_call_delta("pay", "c1")


@pytest.mark.parametrize(
    ("chosen", "status"),
    [
        ({}, "waiting"),
        ({"permission_mode": "ask"}, "requires_action"),
        ({"tool_rules": [{"tools": "p*", "permission": "ask"}]}, "requires_action"),
        ({"tool_rules": [{"tools": "look", "permission": "ask"}]}, "waiting"),
    ],
)
async def test_chat_may_ask_where_the_configuration_allows(
    dsn: str, chosen: dict[str, Any], status: str
) -> None:
    provider = calling_provider([PAY])
    async with (
        tool_endpoint() as endpoint,
        running_daemon(dsn, provider, **tools(endpoint)) as chatd,
    ):
        chat = await chatd.api.create("go", **chosen)
        assert chat["permission_mode"] == chosen.get("permission_mode", "default")
        assert chat["tool_rules"] == chosen.get("tool_rules", [])
        await chatd.api.wait_for_status(chat["id"], status)
        assert len(endpoint.requests) == int(status == "waiting")


async def test_read_only_chat_runs_what_only_reads(dsn: str) -> None:
    provider = calling_provider([PAY, tool_call_delta("look", "c2", index=1)])
    async with tool_endpoint() as endpoint:
        settings = tools(endpoint)
        settings["http_tools"]["look"]["read_only"] = True
        async with running_daemon(dsn, provider, **settings) as chatd:
            chat = await chatd.api.create("go", permission_mode="read_only")
            await chatd.api.wait_for_status(chat["id"], "waiting")
            assert results_in(provider.requests[1]) == [
                ("c1", "This server does not allow pay here.", True),
                ("c2", "done /look", False),
            ]


async def test_change_holds_for_the_next_call_and_a_fork(dsn: str) -> None:
    provider = calling_provider([PAY], [tool_call_delta("pay", "c2")])
    async with (
        tool_endpoint() as endpoint,
        running_daemon(dsn, provider, **tools(endpoint)) as chatd,
    ):
        chat = await chatd.api.create(permission_mode="ask")
        path = f"/api/v1/chats/{chat['id']}"
        rules = [{"tools": "pay", "permission": "deny"}]
        changed = await chatd.api.http.patch(path, json={"tool_rules": rules, "archived": False})
        assert changed.json()["permission_mode"] == "ask", "what is left out stays"
        assert changed.json()["tool_rules"] == rules
        fork = (await chatd.api.http.post(f"{path}/fork", json={})).json()
        assert (fork["permission_mode"], fork["tool_rules"]) == ("ask", rules)
        await chatd.api.http.patch(path, json={"tool_rules": []})
        await chatd.api.send(chat["id"], "go")
        waiting = await chatd.api.wait_for_status(chat["id"], "requires_action")
        assert [call["kind"] for call in waiting["actions"]] == ["approval"]
        assert endpoint.requests == []


async def test_unfit_rules_are_refused(dsn: str) -> None:
    async with running_daemon(dsn) as chatd:
        for rules in (
            [{"tools": "", "permission": "ask"}],
            [{"tools": "a b", "permission": "ask"}],
            [{"tools": "a", "permission": "maybe"}],
            [{"tools": "a", "permission": "ask"}] * 65,
        ):
            body = {"tool_rules": rules}
            response = await chatd.api.http.post("/api/v1/chats", json=body)
            assert_problem(response, 422, "invalid_request", "tool_rules")


@pytest.mark.parametrize(
    ("settings", "runs"),
    [({}, False), ({"trust_hints": True}, True), ({"read_only": ["ec*"]}, True)],
)
async def test_hint_of_a_server_loosens_nothing_unless_it_is_trusted(
    dsn: str, settings: dict[str, Any], runs: bool
) -> None:
    provider = calling_provider(
        [tool_call_delta("srv__echo", "c1"), tool_call_delta("srv__fail", "c2", index=1)]
    )
    mcp = {"srv": program_settings(tools=["echo", "fail"], **settings)}
    async with running_daemon(dsn, provider, mcp=mcp) as chatd:
        chat = await chatd.api.create("go", permission_mode="read_only")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        denied = "This server does not allow srv__{} here."
        assert results_in(provider.requests[1]) == [
            ("c1", "{}", False) if runs else ("c1", denied.format("echo"), True),
            ("c2", denied.format("fail"), True),
        ]


async def test_person_who_is_asked_reads_what_the_server_says(dsn: str) -> None:
    provider = calling_provider(
        [tool_call_delta("srv__echo", "c1"), tool_call_delta("srv__fail", "c2", index=1)]
    )
    mcp = {"srv": program_settings(tools=["echo", "fail"], permission="ask", trust_hints=True)}
    async with running_daemon(dsn, provider, mcp=mcp) as chatd:
        chat = await chatd.api.create("go")
        waiting = await chatd.api.wait_for_status(chat["id"], "requires_action")
        assert [(call["kind"], call["message"]) for call in waiting["actions"]] == [
            ("approval", "Its MCP server calls it read-only."),
            ("approval", "Its MCP server calls it destructive."),
        ]
