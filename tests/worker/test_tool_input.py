"""Calls of MCP servers that ask a person: a question holds nothing, and its answer lets the call go on."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.client_tools import calling_provider, results_in
from support.eventually import eventually
from support.in_process import InProcessDaemon, fetch_rows, running_daemon
from support.mcp_program import FORM, SECRET
from support.mcp_servers import living
from support.mcp_servers import program_settings as server
from support.providers import tool_call_delta
from support.requests import assert_problem
from support.sse_client import ChatView
from support.tool_endpoint import tool_endpoint, tools

from chatd.domain.tool_call_errors import CANCELLED, NOT_ANSWERED
from chatd.store.database import Database

HIDDEN = json.dumps(SECRET)[1:20]


def settings(folder: Path, **more: Any) -> dict[str, Any]:
    return {"mcp": {"srv": server("stateless", folder, tools=["ask"], **more)}}


def calls(folder: Path) -> list[dict[str, Any]]:
    """Return the calls that the server got."""
    return [json.loads(line) for line in (folder / "calls").read_text().splitlines()]


def ask(call_id: str = "c1", index: int = 0, **args: Any) -> Any:
    return tool_call_delta("srv__ask", call_id, json.dumps(args), index=index)


async def answer(
    chatd: InProcessDaemon, chat: Any, content: Any = None, number: int = 0, **more: Any
) -> Any:
    said = {"tool_call_id": "c1", "input": "accept", "question_number": number, **more}
    if content is not None:
        said["content"] = content
    path = f"/api/v1/chats/{chat['id']}/actions"
    return await chatd.api.http.post(path, json={"answers": [said]})


async def asked(chatd: InProcessDaemon, chat: Any) -> dict[str, Any]:
    """Wait until the chat asks, and return the only question."""
    waiting = await chatd.api.wait_for_status(chat["id"], "requires_action", timeout_seconds=30)
    [action] = waiting["actions"]
    return dict(action)


async def question(chatd: InProcessDaemon, chat: Any, number: int) -> dict[str, Any]:
    """Wait until the chat asks its question of this number, and return it."""

    async def found() -> Any:
        actions = (await chatd.api.chat(chat["id"]))["actions"] or ()
        return next((each for each in actions if each["question_number"] == number), None)

    return dict(await eventually(found))


async def test_call_goes_on_with_the_answer_after_all_processes_were_replaced(
    dsn: str, database: Database, tmp_path: Path
) -> None:
    provider = calling_provider([ask(x=1)])
    async with running_daemon(dsn, provider, **settings(tmp_path)) as chatd:
        chat = await chatd.api.create("go")
        action = await asked(chatd, chat)
        assert (action["kind"], action["message"], action["question_number"]) == (
            "input",
            "When? 0",
            0,
        )
        assert action["schema"] == {**FORM, "additionalProperties": False}
        [row] = await fetch_rows(database, "SELECT * FROM chat_tool_calls")
        assert (row["state"], row["tries"], row["policy"]) == ("asked", 0, "at_most_once")
        view = ChatView()
        await chatd.api.follow(chat["id"], view, lambda view: view.status is not None)
        assert view.events[0].data["action_required"]["calls"] == [action]
    assert not living(tmp_path), "nothing waits for the answer"
    async with (
        running_daemon(dsn, provider, **settings(tmp_path)) as one,
        running_daemon(dsn, provider, **settings(tmp_path)) as other,
    ):
        content = {"date": "May", "seats": 2}
        answered = await answer(other, chat, content)
        assert answered.status_code == 200, answered.text
        await one.api.wait_for_status(chat["id"], "waiting", timeout_seconds=30)
        assert (await answer(one, chat, content)).status_code == 200, "the same again"
        assert_problem(await answer(one, chat, {"date": "June"}), 409, "already_answered", "c1")
        journal = str(await one.journal(chat["id"]))
        ledger = await one.api.http.get(f"/api/v1/chats/{chat['id']}/tool-calls")
        explained = await one.api.http.get(f"/api/v1/chats/{chat['id']}/explain")
    begun, continued = calls(tmp_path)
    assert (begun["given"], begun["args"]) == (None, {"x": 1})
    assert continued["given"] == {"k0": {"action": "accept", "content": content}}
    assert json.loads(continued["state"])["secret"] == SECRET
    assert continued["args"] == {"x": 1}
    [(_, text, is_error)] = results_in(provider.requests[-1])
    assert (json.loads(text), is_error) == (continued["given"], False)
    [row] = await fetch_rows(database, "SELECT * FROM chat_tool_calls")
    assert (row["state"], row["tries"], row["continuation"]) == ("closed", 1, None)
    for shown in (journal, ledger.text, explained.text):
        assert "state-of-the-server" not in shown


async def test_each_question_has_its_number_and_its_own_answer(
    dsn: str, database: Database, tmp_path: Path
) -> None:
    """A request that comes twice does not answer the next question, although it would fit."""
    provider = calling_provider([ask(questions=2)])
    async with (
        tool_endpoint() as endpoint,
        running_daemon(
            dsn,
            provider,
            **tools(endpoint, **settings(tmp_path), tools={"rules": {"srv__ask": "ask"}}),
        ) as chatd,
    ):
        chat = await chatd.api.create("go")
        assert (await asked(chatd, chat))["kind"] == "approval"
        path = f"/api/v1/chats/{chat['id']}/actions"
        changed = {"questions": 2, "changed": True}
        allow = {"answers": [{"tool_call_id": "c1", "decision": "allow", "args": changed}]}
        assert (await chatd.api.http.post(path, json=allow)).status_code == 200
        first = await question(chatd, chat, 1)
        assert (first["question_number"], first["message"]) == (1, "When? 0")
        again = await chatd.api.http.post(path, json=allow)
        assert again.status_code == 200, "the same answer to an earlier question changes nothing"
        may, june = {"date": "May"}, {"date": "June"}
        assert_problem(await answer(chatd, chat, may), 422, "answer_mismatch", "c1")
        assert_problem(await answer(chatd, chat, may, 2), 422, "answer_mismatch", "c1")
        assert (await answer(chatd, chat, may, 1)).status_code == 200
        second = await question(chatd, chat, 2)
        assert (second["question_number"], second["message"]) == (2, "When? 1")
        assert (await answer(chatd, chat, may, 1)).status_code == 200
        refused = await answer(chatd, chat, june, 1)
        assert_problem(refused, 409, "already_answered", "c1")
        assert refused.json()["decisions"][0]["decision"] == "accept"
        assert (await asked(chatd, chat))["question_number"] == 2, "none of these answered it"
        assert (await answer(chatd, chat, june, 2)).status_code == 200
        await chatd.api.wait_for_status(chat["id"], "waiting")
    given = [call["given"] for call in calls(tmp_path)]
    contents = [next(iter(each.values()))["content"] for each in given[1:]]
    assert (given[0], contents) == (None, [may, june])
    assert all(call["args"] == changed for call in calls(tmp_path)), "as the person changed them"
    [row] = await fetch_rows(database, "SELECT earlier_decisions FROM chat_tool_calls")
    assert [each["kind"] for each in row["earlier_decisions"]] == ["approval", "input"]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ({}, '"date" is a required property'),
        ({"date": "x"}, "date: "),
        ({"date": "May", "seats": "two"}, "seats: "),
        ({"date": "May", "more": 1}, "Additional properties"),
        ("May", "not of type"),
        (None, "not of type"),
    ],
)
async def test_answer_that_does_not_fit_the_form_is_refused(
    dsn: str, tmp_path: Path, content: Any, complaint: str
) -> None:
    async with running_daemon(dsn, calling_provider([ask()]), **settings(tmp_path)) as chatd:
        chat = await chatd.api.create("go")
        await asked(chatd, chat)
        refused = await answer(chatd, chat, content)
        assert_problem(refused, 422, "invalid_request", "body.answers.0.content")
        assert complaint in refused.text.replace("\\", "")
        assert (await answer(chatd, chat, input="decline")).status_code == 200
        await chatd.api.wait_for_status(chat["id"], "waiting")
    assert calls(tmp_path)[1]["given"] == {"k0": {"action": "decline"}}


async def test_interrupt_and_deadline_end_the_question(
    dsn: str, database: Database, tmp_path: Path
) -> None:
    provider = calling_provider([ask()])
    async with running_daemon(dsn, provider, **settings(tmp_path)) as chatd:
        chat = await chatd.api.create("go")
        await asked(chatd, chat)
        await chatd.api.interrupt(chat["id"])
        messages = await chatd.api.messages(chat["id"])
        assert messages[-1]["content"][0]["result"] == CANCELLED["other"], "it had begun"
        late = await answer(chatd, chat, {"date": "May"})
        assert_problem(late, 409, "already_answered", "c1")
        provider.requests.clear()
        second = await chatd.api.create("go")
        await asked(chatd, second)
        await fetch_rows(
            database,
            "UPDATE chat_tool_calls SET expires_at = clock_timestamp() WHERE state = 'asked'",
        )
        await fetch_rows(
            database,
            "UPDATE chats SET action_deadline = clock_timestamp() WHERE status = 'requires_action'",
        )
        await chatd.api.wait_for_status(second["id"], "waiting")
        assert results_in(provider.requests[-1]) == [("c1", NOT_ANSWERED["input"], True)]
    assert len(calls(tmp_path)) == 2, "no call went on"
    rows = await fetch_rows(database, "SELECT continuation FROM chat_tool_calls")
    assert [row["continuation"] for row in rows] == [None, None]


async def test_state_goes_to_no_other_server_of_that_name(dsn: str, tmp_path: Path) -> None:
    provider = calling_provider([ask()])
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    async with running_daemon(dsn, provider, **settings(one)) as chatd:
        chat = await chatd.api.create("go")
        await asked(chatd, chat)
    async with running_daemon(dsn, provider, **settings(other)) as chatd:
        assert (await answer(chatd, chat, {"date": "May"})).status_code == 200
        await chatd.api.wait_for_status(chat["id"], "waiting", timeout_seconds=30)
    [(_, text, is_error)] = results_in(provider.requests[-1])
    assert is_error
    assert text.startswith("MCP server srv is another one than the one that asked")
    assert not (other / "calls").exists()


async def test_tool_that_asks_for_ever_is_stopped(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatd.worker.tool_execution.MAX_QUESTIONS", 2)
    provider = calling_provider([ask(questions=100)])
    async with running_daemon(dsn, provider, **settings(tmp_path)) as chatd:
        chat = await chatd.api.create("go")
        for number in range(2):
            await question(chatd, chat, number)
            assert (await answer(chatd, chat, {"date": "May"}, number)).status_code == 200
        await chatd.api.wait_for_status(chat["id"], "waiting")
    [(_, text, is_error)] = results_in(provider.requests[-1])
    assert (text, is_error) == (
        "The tool asked 2 times for input and did not end. It may have had effects.",
        True,
    )


async def test_what_else_the_message_calls_runs_before_anybody_is_asked(
    dsn: str, tmp_path: Path
) -> None:
    provider = calling_provider([tool_call_delta("pay", "c0"), ask(index=1), ask("c2", 2, x=2)])
    async with (
        tool_endpoint() as endpoint,
        running_daemon(
            dsn, provider, **tools(endpoint, **settings(tmp_path), tools={"rules": {"pay": "ask"}})
        ) as chatd,
    ):
        chat = await chatd.api.create("go")
        waiting = await chatd.api.wait_for_status(chat["id"], "requires_action")
        kinds = [(call["tool_call_id"], call["kind"]) for call in waiting["actions"]]
        assert kinds == [("c0", "approval"), ("c1", "input"), ("c2", "input")]
        assert len(await chatd.journal(chat["id"], "require_action")) == 1
