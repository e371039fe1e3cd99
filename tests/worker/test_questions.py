"""Questions of a model to its user, by the built-in tool."""

import json
from typing import Any

from support.client_tools import calling_provider, results_in
from support.in_process import running_daemon
from support.providers import tool_call_delta
from support.requests import assert_problem

ENABLED = {"tools": {"builtin": ["ask_user_question"]}}


def ask(call_id: str = "c1", **args: Any) -> Any:
    return tool_call_delta("ask_user_question", call_id, json.dumps(args))


async def test_answer_of_the_user_is_the_result(dsn: str) -> None:
    provider = calling_provider([ask(question="Which one?", options=["red", "blue"])])
    async with running_daemon(dsn, provider, **ENABLED) as chatd:
        chat = await chatd.api.create("go")
        waiting = await chatd.api.wait_for_status(chat["id"], "requires_action")
        [action] = waiting["actions"]
        assert (action["kind"], action["message"]) == ("input", "Which one?")
        assert action["schema"]["properties"] == {
            "answer": {"type": "string", "enum": ["red", "blue"]}
        }
        path = f"/api/v1/chats/{chat['id']}/actions"
        said = {
            "tool_call_id": "c1",
            "input": "accept",
            "content": {"answer": "blue", "why": "sky"},
        }
        answered = await chatd.api.http.post(path, json={"answers": [said]})
        assert answered.status_code == 200, answered.text
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert results_in(provider.requests[1]) == [("c1", said["content"], False)]
        assert (await chatd.api.http.post(path, json={"answers": [said]})).status_code == 200
        other = said | {"content": {"answer": "red"}}
        changed = await chatd.api.http.post(path, json={"answers": [other]})
        assert_problem(changed, 409, "already_answered", "c1")
        assert "sky" not in str(await chatd.journal(chat["id"]))


async def test_user_may_decline_or_close_the_question(dsn: str) -> None:
    provider = calling_provider(
        [
            ask("c1", question="One?"),
            tool_call_delta("ask_user_question", "c2", '{"question": "Two?"}', index=1),
        ]
    )
    async with running_daemon(dsn, provider, **ENABLED) as chatd:
        chat = await chatd.api.create("go")
        await chatd.api.wait_for_status(chat["id"], "requires_action")
        answers = [
            {"tool_call_id": "c1", "input": "decline"},
            {"tool_call_id": "c2", "input": "cancel"},
        ]
        await chatd.api.http.post(f"/api/v1/chats/{chat['id']}/actions", json={"answers": answers})
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert results_in(provider.requests[1]) == [
            ("c1", "The user declined to answer.", True),
            ("c2", "The user closed this without an answer.", True),
        ]


async def test_question_that_cannot_be_asked_is_an_error(dsn: str) -> None:
    provider = calling_provider([ask(options=["a"])])
    async with running_daemon(dsn, provider, **ENABLED) as chatd:
        chat = await chatd.api.create("go")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        [(_, text, is_error)] = results_in(provider.requests[1])
        assert is_error
        assert text.startswith("The arguments do not fit the tool:")


async def test_model_has_the_tool_only_where_it_is_switched_on(dsn: str) -> None:
    provider = calling_provider()
    async with running_daemon(dsn, provider) as chatd:
        chat = await chatd.api.create("go", tools=[{**CLIENTS}])
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert [tool.name for tool in provider.requests[0].tools] == ["ask_user_question"]
        assert provider.requests[0].tools[0].description == "the client's own"
    async with running_daemon(dsn, provider, **ENABLED) as chatd:
        chat = await chatd.api.create("go")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert provider.requests[1].tools[0].description.startswith("Ask the user")
        without = await chatd.api.create("go", server_tools={"builtin": []})
        await chatd.api.wait_for_status(without["id"], "waiting")
        assert provider.requests[2].tools == ()
        refused = await chatd.api.http.post("/api/v1/chats", json={"tools": [CLIENTS]})
        assert_problem(refused, 422, "invalid_request", "ask_user_question")


CLIENTS = {
    "name": "ask_user_question",
    "description": "the client's own",
    "parameters": {"type": "object"},
}
