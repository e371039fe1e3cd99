"""Calls that people approve: asked once, answered on any replica, and run at most once."""

import asyncio
from typing import Any

import pytest
from support.client_tools import TOOLS, calling_provider, results_in
from support.eventually import eventually
from support.in_process import InProcessDaemon, fetch_rows, running_daemon
from support.providers import tool_call_delta
from support.requests import assert_problem
from support.sse_client import ChatView
from support.tool_endpoint import ToolCallRequest, ToolEndpoint, response, tool_endpoint, tools

from chatd.store.database import Database

PAY = tool_call_delta("pay", "c1", '{"note": "rent"}')


def asking(endpoint: ToolEndpoint, **more: Any) -> dict[str, Any]:
    """Return the settings of tools of which ``pay`` is asked."""
    return tools(endpoint, **{"tools": {"rules": {"pay": "ask"}}, **more})


async def answer(chatd: InProcessDaemon, chat_id: str, *answers: dict[str, Any]) -> Any:
    path = f"/api/v1/chats/{chat_id}/actions"
    return await chatd.api.http.post(path, json={"answers": list(answers)})


def allow(call_id: str = "c1", **more: Any) -> dict[str, Any]:
    return {"tool_call_id": call_id, "decision": "allow", **more}


def deny(call_id: str = "c1", **more: Any) -> dict[str, Any]:
    return {"tool_call_id": call_id, "decision": "deny", **more}


async def test_allowed_call_runs_and_the_turn_goes_on(dsn: str, database: Database) -> None:
    provider = calling_provider([PAY])
    async with (
        tool_endpoint() as endpoint,
        running_daemon(dsn, provider, **asking(endpoint)) as chatd,
    ):
        chat = await chatd.api.create("go")
        waiting = await chatd.api.wait_for_status(chat["id"], "requires_action")
        [action] = waiting["actions"]
        assert action == {
            "tool_call_id": "c1",
            "tool_name": "pay",
            "args": '{"note": "rent"}',
            "kind": "approval",
            "message": None,
            "schema": None,
            "question_number": 0,
            "expires_at": waiting["action_deadline"],
        }
        assert endpoint.requests == []
        await eventually(lambda: not chatd.daemon.chat_tasks.leases)
        answered = await answer(chatd, chat["id"], allow())
        assert answered.status_code == 200, answered.text
        assert answered.json()["actions"] is None
        await chatd.api.wait_for_status(chat["id"], "waiting")
        [request] = endpoint.requests
        assert request.json == {"note": "rent"}
        assert results_in(provider.requests[1]) == [("c1", "done /pay", False)]
        moves = [entry["transition"] for entry in await chatd.journal(chat["id"])]
        assert moves[2:] == [
            "require_action",
            "answer_action",
            "claim",
            "close_calls",
            "close_calls",
            "finish_turn",
        ]
        [row] = await fetch_rows(database, "SELECT * FROM chat_tool_calls")
        assert (row["state"], row["tries"], row["decision"]) == ("closed", 1, {"decision": "allow"})


async def test_denied_call_does_not_run_and_the_model_reads_why(dsn: str) -> None:
    provider = calling_provider([PAY])
    async with (
        tool_endpoint() as endpoint,
        running_daemon(dsn, provider, **asking(endpoint)) as chatd,
    ):
        chat = await chatd.api.create("go")
        await chatd.api.wait_for_status(chat["id"], "requires_action")
        await answer(chatd, chat["id"], deny(reason="too much"))
        await chatd.api.wait_for_status(chat["id"], "waiting")
        refused = "The user did not allow this call: too much"
        assert results_in(provider.requests[1]) == [("c1", refused, True)]
        assert endpoint.requests == []


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"tools": {"rules": {"pay": "deny"}}}, "This server does not allow pay here."),
        ({"tools": {"permission": "deny"}}, "This server does not allow pay here."),
    ],
)
async def test_rule_denies_without_a_question(
    dsn: str, settings: dict[str, Any], text: str
) -> None:
    provider = calling_provider([PAY])
    async with (
        tool_endpoint() as endpoint,
        running_daemon(dsn, provider, **tools(endpoint, **settings)) as chatd,
    ):
        chat = await chatd.api.create("go")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert results_in(provider.requests[1]) == [("c1", text, True)]
        assert endpoint.requests == []


async def test_message_of_all_kinds_asks_once_and_has_one_answer(dsn: str) -> None:
    provider = calling_provider(
        [
            tool_call_delta("pay", "c1"),
            tool_call_delta("weather", "c2", '{"city": "Oslo"}', index=1),
            tool_call_delta("look", "c3", index=2),
            tool_call_delta("no such", "c4", index=3),
            tool_call_delta("pay", "c5", index=4),
        ]
    )
    async with (
        tool_endpoint() as endpoint,
        running_daemon(dsn, provider, **asking(endpoint)) as chatd,
    ):
        chat = await chatd.api.create("go", tools=TOOLS)
        waiting = await chatd.api.wait_for_status(chat["id"], "requires_action")
        assert [request.target for request in endpoint.requests] == ["/look"], "it comes first"
        asked = [(call["tool_call_id"], call["kind"]) for call in waiting["actions"]]
        assert asked == [("c1", "approval"), ("c2", "result"), ("c5", "approval")]
        view = ChatView()
        await chatd.api.follow(chat["id"], view, lambda view: view.status is not None)
        required = view.events[0].data["action_required"]
        assert required["calls"] == waiting["actions"]
        assert required["deadline"] == min(call["expires_at"] for call in waiting["actions"])
        left = (await answer(chatd, chat["id"], allow("c5"))).json()
        assert [call["tool_call_id"] for call in left["actions"]] == ["c1", "c2"]
        assert len(endpoint.requests) == 1, "nothing runs while something is asked"
        await chatd.api.submit_tool_results(chat["id"], {"c2": 2})
        assert (await chatd.api.chat(chat["id"]))["status"] == "requires_action"
        await answer(chatd, chat["id"], deny("c1"))
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert results_in(provider.requests[1]) == [
            ("c1", "The user did not allow this call.", True),
            ("c2", 2, False),
            ("c3", "done /look", False),
            ("c4", "There is no tool named no such.", True),
            ("c5", "done /pay", False),
        ]
        assert len(await chatd.journal(chat["id"], "require_action")) == 1
        roles = [message["role"] for message in await chatd.api.messages(chat["id"])]
        assert roles == ["user", "assistant", "tool", "assistant"]


async def test_two_answers_at_once_have_one_effect(dsn: str) -> None:
    provider = calling_provider([PAY])
    async with (
        tool_endpoint() as endpoint,
        running_daemon(dsn, provider, **asking(endpoint)) as one,
        running_daemon(dsn, provider, **asking(endpoint)) as other,
    ):
        chat = await one.api.create("go")
        await one.api.wait_for_status(chat["id"], "requires_action")
        answers = await asyncio.gather(
            answer(one, chat["id"], allow()), answer(other, chat["id"], deny(reason="no"))
        )
        statuses = [each.status_code for each in answers]
        assert sorted(statuses) == [200, 409]
        lost = answers[statuses.index(409)]
        allowed = statuses[0] == 200
        assert_problem(lost, 409, "already_answered", "c1")
        stands = {"tool_call_id": "c1", "decision": "allow" if allowed else "deny"}
        assert lost.json()["decisions"] == [stands | {"reason": None if allowed else "no"}]
        await one.api.wait_for_status(chat["id"], "waiting")
        assert len(endpoint.requests) == int(allowed)
        again = await answer(other, chat["id"], allow() if allowed else deny(reason="no"))
        assert again.status_code == 200, "the same answer again changes nothing"


async def test_answer_comes_after_all_processes_were_replaced(dsn: str) -> None:
    provider = calling_provider([PAY])
    async with tool_endpoint() as endpoint:
        async with running_daemon(dsn, provider, **asking(endpoint)) as chatd:
            chat = await chatd.api.create("go")
            await chatd.api.wait_for_status(chat["id"], "requires_action")
        async with (
            running_daemon(dsn, provider, **asking(endpoint)) as one,
            running_daemon(dsn, provider, **asking(endpoint)) as other,
        ):
            assert (await answer(other, chat["id"], allow())).status_code == 200
            await one.api.wait_for_status(chat["id"], "waiting")
            assert (await answer(one, chat["id"], allow())).status_code == 200
            assert len(endpoint.requests) == 1
            assert results_in(provider.requests[-1]) == [("c1", "done /pay", False)]


async def test_interrupt_while_asked_answers_as_cancelled(dsn: str) -> None:
    provider = calling_provider([PAY])
    async with (
        tool_endpoint() as endpoint,
        running_daemon(dsn, provider, **asking(endpoint)) as chatd,
    ):
        chat = await chatd.api.create("go")
        await chatd.api.wait_for_status(chat["id"], "requires_action")
        await chatd.api.interrupt(chat["id"])
        messages = await chatd.api.messages(chat["id"])
        cancelled = "Cancelled by the user before it started."
        assert messages[-1]["content"][0]["result"] == cancelled
        late = await answer(chatd, chat["id"], allow())
        assert_problem(late, 409, "already_answered", "c1")
        assert late.json()["decisions"][0]["decision"] is None
        assert endpoint.requests == []


async def test_edit_while_asked_drops_the_question(dsn: str) -> None:
    provider = calling_provider([PAY])
    async with (
        tool_endpoint() as endpoint,
        running_daemon(dsn, provider, **asking(endpoint)) as chatd,
    ):
        chat = await chatd.api.create("go")
        await chatd.api.wait_for_status(chat["id"], "requires_action")
        [first, *_] = await chatd.api.messages(chat["id"])
        path = f"/api/v1/chats/{chat['id']}/messages/{first['id']}"
        edited = await chatd.api.http.patch(path, json={"content": "go again"})
        assert edited.status_code == 200, edited.text
        waiting = await chatd.api.wait_for_status(chat["id"], "requires_action")
        [action] = waiting["actions"]
        assert action["tool_call_id"] == "c1", "models repeat their ids"
        await answer(chatd, chat["id"], allow())
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert len(endpoint.requests) == 1


async def test_changed_arguments_are_checked_and_used(dsn: str) -> None:
    provider = calling_provider([PAY])
    async with (
        tool_endpoint() as endpoint,
        running_daemon(dsn, provider, **asking(endpoint)) as chatd,
    ):
        chat = await chatd.api.create("go")
        await chatd.api.wait_for_status(chat["id"], "requires_action")
        wrong = await answer(chatd, chat["id"], allow(args={"note": 7}))
        assert_problem(wrong, 422, "invalid_request", "body.answers.0.args")
        assert (await answer(chatd, chat["id"], allow(args={"note": "less"}))).status_code == 200
        await chatd.api.wait_for_status(chat["id"], "waiting")
        [request] = endpoint.requests
        assert request.json == {"note": "less"}


async def test_remembered_answer_holds_for_the_chat(dsn: str) -> None:
    provider = calling_provider([PAY], [tool_call_delta("pay", "c2")])
    async with (
        tool_endpoint() as endpoint,
        running_daemon(dsn, provider, **asking(endpoint)) as chatd,
    ):
        chat = await chatd.api.create("go")
        await chatd.api.wait_for_status(chat["id"], "requires_action")
        answered = (await answer(chatd, chat["id"], allow(remember="chat"))).json()
        assert answered["remembered_tools"] == {"pay": "allow"}
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert len(endpoint.requests) == 2, "the second call was not asked"
        assert len(await chatd.journal(chat["id"], "require_action")) == 1
        path = f"/api/v1/chats/{chat['id']}"
        changed = await chatd.api.http.patch(path, json={"permission_mode": "ask"})
        assert changed.json()["remembered_tools"] == {}


async def test_nobody_answers_in_time(dsn: str) -> None:
    provider = calling_provider([PAY])
    impatient = {"tools": {"permission": "ask", "approval_seconds": 0.05}}
    async with (
        tool_endpoint() as endpoint,
        running_daemon(
            dsn, provider, **tools(endpoint, worker={"reap_interval_seconds": 0.05}, **impatient)
        ) as chatd,
    ):
        chat = await chatd.api.create("go")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        words = "Nobody answered in time, so this did not run."
        assert results_in(provider.requests[1]) == [("c1", words, True)]
        late = await answer(chatd, chat["id"], allow())
        assert late.json()["decisions"][0]["decision"] == "expired"
        assert endpoint.requests == []


async def test_answers_that_fit_no_question_are_refused_as_a_whole(dsn: str) -> None:
    provider = calling_provider([PAY, tool_call_delta("weather", "c2", index=1)])
    async with (
        tool_endpoint() as endpoint,
        running_daemon(dsn, provider, **asking(endpoint)) as chatd,
    ):
        chat = await chatd.api.create("go", tools=TOOLS)
        await chatd.api.wait_for_status(chat["id"], "requires_action")
        result = {"tool_call_id": "c1", "result": 1}
        for answers, status, code in (
            ([allow("c1"), allow("c9")], 422, "tool_call_unknown"),
            ([allow("c1"), allow("c1")], 422, "tool_call_unknown"),
            ([allow("c1"), allow("c2")], 422, "answer_mismatch"),
            ([result], 422, "answer_mismatch"),
            ([{"tool_call_id": "c1", "input": "decline"}], 422, "answer_mismatch"),
            ([allow("c1", result=1)], 422, "invalid_request"),
            ([deny("c1", args={})], 422, "invalid_request"),
        ):
            assert_problem(await answer(chatd, chat["id"], *answers), status, code)
        assert len((await chatd.api.chat(chat["id"]))["actions"]) == 2
        submitted = await chatd.api.http.post(
            f"/api/v1/chats/{chat['id']}/tool-results", json={"results": [result]}
        )
        assert_problem(submitted, 422, "tool_call_unknown", "c1")


async def test_call_is_asked_when_the_others_have_run(dsn: str) -> None:
    running, go_on = asyncio.Event(), asyncio.Event()

    async def look(_: ToolCallRequest) -> bytes:
        running.set()
        await go_on.wait()
        return response("seen")

    provider = calling_provider([PAY, tool_call_delta("look", "c2", index=1)])
    async with (
        tool_endpoint(look) as endpoint,
        running_daemon(dsn, provider, **asking(endpoint)) as chatd,
    ):
        chat = await chatd.api.create("go")
        await running.wait()
        early = await answer(chatd, chat["id"], allow())
        assert_problem(early, 409, "no_action_required")
        go_on.set()
        await chatd.api.wait_for_status(chat["id"], "requires_action")
        assert (await answer(chatd, chat["id"], deny())).status_code == 200


async def test_deadline_of_one_question_leaves_the_others(dsn: str) -> None:
    provider = calling_provider([PAY, tool_call_delta("weather", "c2", index=1)])
    impatient = {"worker": {"reap_interval_seconds": 0.05}}
    async with (
        tool_endpoint() as endpoint,
        running_daemon(
            dsn,
            provider,
            turn={"client_tool_timeout_seconds": 0.05},
            **asking(endpoint, **impatient),
        ) as chatd,
    ):
        chat = await chatd.api.create("go", tools=TOOLS)
        await eventually(lambda: chatd.journal(chat["id"], "expire_action"))
        waiting = await chatd.api.chat(chat["id"])
        assert waiting["status"] == "requires_action"
        [action] = waiting["actions"]
        assert (action["tool_call_id"], action["expires_at"]) == ("c1", waiting["action_deadline"])
        await answer(chatd, chat["id"], allow())
        await chatd.api.wait_for_status(chat["id"], "waiting")
        results = [("c1", "done /pay", False), ("c2", "timed out", True)]
        assert results_in(provider.requests[1]) == results


async def test_streams_tell_what_was_answered(dsn: str) -> None:
    provider = calling_provider([PAY, tool_call_delta("pay", "c2", index=1)])
    async with (
        tool_endpoint() as endpoint,
        running_daemon(dsn, provider, **asking(endpoint)) as chatd,
    ):
        chat = await chatd.api.create("go")
        waiting = await chatd.api.wait_for_status(chat["id"], "requires_action")
        view = ChatView()
        following = asyncio.create_task(
            chatd.api.follow(chat["id"], view, lambda view: view.status == "waiting")
        )
        await eventually(lambda: view.status)
        await answer(chatd, chat["id"], allow("c2"))
        await answer(chatd, chat["id"], deny("c1"))
        await following
        first, last = [event.data for event in view.events if event.event == "action_answered"]
        assert first["answered"] == [
            {"tool_call_id": "c2", "tool_name": "pay", "decision": "allow"}
        ]
        assert first["open"] == ["c1"]
        assert first["deadline"] == waiting["action_deadline"]
        assert last["answered"] == [{"tool_call_id": "c1", "tool_name": "pay", "decision": "deny"}]
        assert (last["open"], last["deadline"]) == ([], None)
