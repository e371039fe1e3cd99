"""Approvals that are asked by processes of which none is left: each call that others allow runs once."""

import asyncio
from pathlib import Path
from typing import Any

from support.database_inspector import inspect_database
from support.processes import replicas
from support.requests import assert_problem
from support.sse_client import ApiClient, clients
from support.tool_endpoint import tool_endpoint

SCRIPTS = """
[providers.fake]
kind = "scripted"

[[providers.fake.scripts.one]]
tool_call = { name = "pay", id = "only" }
calls = [1]
[[providers.fake.scripts.one]]
text = "Well then."
calls = [2]

[[providers.fake.scripts.mixed]]
tool_call = { name = "look", id = "look" }
calls = [1]
[[providers.fake.scripts.mixed]]
tool_call = { name = "pay", id = "pay" }
calls = [1]
[[providers.fake.scripts.mixed]]
tool_call = { name = "weather", id = "weather" }
calls = [1]
[[providers.fake.scripts.mixed]]
tool_call = { name = "nonsense", id = "nonsense" }
calls = [1]
[[providers.fake.scripts.mixed]]
text = "Well then."
calls = [2]

[models.fake]
provider = "fake"
model = "fake-1"
"""
SETTINGS = """
[tools.rules]
pay = "ask"
[http_tools.pay]
description = "Pay."
url = "{url}/pay"
[http_tools.look]
description = "Look."
url = "{url}/look"
"""
WEATHER = [{"name": "weather", "parameters": {"type": "object"}}]


async def answer(api: ApiClient, chat_id: str, *answers: dict[str, Any]) -> Any:
    path = f"/api/v1/chats/{chat_id}/actions"
    return await api.http.post(path, json={"answers": list(answers)})


async def test_answers_to_replicas_that_asked_nothing_have_one_effect(
    tmp_path: Path, dsn: str
) -> None:
    async with tool_endpoint() as endpoint:
        settings = SETTINGS.replace("{url}", endpoint.url)
        async with (
            replicas(tmp_path, dsn, "a", "b", settings=settings, scripts=SCRIPTS) as asking,
            clients(asking) as apis,
        ):
            one = (await apis["a"].create("[[one]]"))["id"]
            mixed = (await apis["a"].create("[[mixed]]", tools=WEATHER))["id"]
            for chat_id in (one, mixed):
                await apis["b"].wait_for_status(chat_id, "requires_action")
            for process in asking:
                process.kill()
        assert [request.target for request in endpoint.requests] == ["/look"]
        async with (
            replicas(tmp_path, dsn, "c", "d", settings=settings, scripts=SCRIPTS) as others,
            clients(others) as apis,
        ):
            paid = await answer_at_once(apis["c"], apis["d"], one)
            targets = [request.target for request in endpoint.requests]
            assert targets == ["/look", *["/pay"] * paid]
            await answer_all(apis["d"], mixed)
            targets = [request.target for request in endpoint.requests]
            assert targets == ["/look", *["/pay"] * (paid + 1)], "each call that was allowed, once"
    async with inspect_database(dsn) as stored:
        for chat_id in (one, mixed):
            assert (await stored.transitions(chat_id)).count("require_action") == 1
        tries = await stored.fetch_all("SELECT max(tries) AS tries FROM chat_tool_calls")
    assert tries[0]["tries"] == 1


async def answer_at_once(api: ApiClient, other: ApiClient, chat_id: str) -> int:
    """Give two answers at once to two replicas. Return how often the call is to run."""
    allow = {"tool_call_id": "only", "decision": "allow"}
    deny = {"tool_call_id": "only", "decision": "deny", "reason": "no"}
    answers = await asyncio.gather(answer(api, chat_id, allow), answer(other, chat_id, deny))
    statuses = [each.status_code for each in answers]
    assert sorted(statuses) == [200, 409]
    allowed = statuses[0] == 200
    late = answers[allowed]
    assert_problem(late, 409, "already_answered", "only")
    stands = allow | {"reason": None} if allowed else deny
    assert late.json()["decisions"] == [stands]
    await api.wait_for_status(chat_id, "waiting")
    again = await answer(other, chat_id, allow if allowed else deny)
    assert again.status_code == 200, "the same answer again changes nothing"
    [result] = (await api.messages(chat_id))[2]["content"]
    assert result["result"] == ("done /pay" if allowed else "The user did not allow this call: no")
    return int(allowed)


async def answer_all(api: ApiClient, chat_id: str) -> None:
    """Answer the one round of questions of a message with calls of all kinds."""
    asked = [(call["tool_call_id"], call["kind"]) for call in (await api.chat(chat_id))["actions"]]
    assert asked == [("pay", "approval"), ("weather", "result")]
    allow = {"tool_call_id": "pay", "decision": "allow"}
    sunny = {"tool_call_id": "weather", "result": "sunny"}
    answered = await answer(api, chat_id, allow, sunny)
    assert answered.status_code == 200, answered.text
    await api.wait_for_status(chat_id, "waiting")
    messages = await api.messages(chat_id)
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "assistant"]
    assert [(part["tool_call_id"], part["result"]) for part in messages[2]["content"]] == [
        ("look", "done /look"),
        ("pay", "done /pay"),
        ("weather", "sunny"),
        ("nonsense", "There is no tool named nonsense."),
    ]
