"""Questions of a chat to a person, answered in a terminal and between pipes."""

import json

from support.client_tools import provider_of_rounds, results_of_all_calls
from support.commands import run_command
from support.eventually import eventually
from support.in_process import running_daemon
from support.pty import terminal
from support.tool_endpoint import tool_endpoint, tools

ASKED = {"tools": {"rules": {"pay": "ask"}}}
PAY = ("pay", '{"note": "rent"}')


async def test_calls_are_allowed_denied_and_always_allowed_in_a_terminal(dsn: str) -> None:
    rounds = [PAY], [("pay", '{"note": "two"}')], [("pay", '{"note": "three"}')], [PAY, PAY]
    async with (
        tool_endpoint() as endpoint,
        running_daemon(dsn, provider_of_rounds(*rounds), **tools(endpoint, **ASKED)) as chatd,
    ):
        with terminal(str(chatd.api.http.base_url), "chat") as screen:
            await screen.wait_for_text("new chat | ")
            screen.type_keys("go\r")
            await screen.wait_for_text("* pay\n  note: rent\n? May pay run?")
            await screen.wait_for_text("y: yes   n [REASON]: no   always, never: also later calls")
            screen.type_keys("perhaps\r")
            await screen.wait_for_text("Answer the question first.")
            assert endpoint.requests == []
            screen.type_keys("y\r")
            await screen.wait_for_text("[pay: allowed]")
            await screen.wait_for_text("  done /pay")
            await screen.wait_for_text("note: two")
            screen.type_keys("n\r")
            await screen.wait_for_text("Why not? Enter: without a reason")
            screen.type_keys("too much\r")
            await screen.wait_for_text("[pay: not allowed]")
            await screen.wait_for_text("failed: The user did not allow this call: too much")
            await screen.wait_for_text("note: three")
            screen.type_keys("always\r")
            [chat] = (await chatd.api.http.get("/api/v1/chats")).json()["items"]
            await chatd.api.wait_for_status(chat["id"], "waiting")
            screen.type_keys("/quit\r")
            assert await screen.wait_for_exit() == 0
        assert [request.json["note"] for request in endpoint.requests] == [
            "rent",
            "three",
            "rent",
            "rent",
        ]


async def test_another_answer_came_first(dsn: str) -> None:
    rounds = [[PAY, PAY]]
    async with (
        tool_endpoint() as endpoint,
        running_daemon(dsn, provider_of_rounds(*rounds), **tools(endpoint, **ASKED)) as chatd,
    ):
        chat = await chatd.api.create("go")
        await chatd.api.wait_for_status(chat["id"], "requires_action")
        with terminal(str(chatd.api.http.base_url), "chat", chat["id"]) as screen:
            await screen.wait_for_text("* pay\n  note: rent\n? May pay run?")
            answer = {"tool_call_id": "c0", "decision": "deny", "reason": "not today"}
            path = f"/api/v1/chats/{chat['id']}/actions"
            assert (await chatd.api.http.post(path, json={"answers": [answer]})).is_success
            await screen.wait_for_text("[pay: not allowed]")
            screen.type_keys("/decline\r")
            await chatd.api.wait_for_status(chat["id"], "waiting")
            screen.type_keys("/quit\r")
            assert await screen.wait_for_exit() == 0
        assert endpoint.requests == []
        assert await results_of_all_calls(chatd, chat["id"]) == [
            "The user did not allow this call: not today",
            "The user did not allow this call.",
        ]


async def test_lines_of_a_pipe_answer_questions(dsn: str) -> None:
    rounds = [PAY], [PAY], [PAY]
    async with (
        tool_endpoint() as endpoint,
        running_daemon(dsn, provider_of_rounds(*rounds), **tools(endpoint, **ASKED)) as chatd,
    ):
        url = str(chatd.api.http.base_url)
        piped = await run_command(url, "chat", stdin="go\ny\nn\nnever again\n")
        assert piped.exit_code == 1
        assert piped.stderr.count("* pay\n  note: rent\n? May pay run?") == 3
        [chat] = (await chatd.api.http.get("/api/v1/chats")).json()["items"]
        assert f"chatd: the chat waits for an answer: chatd chat {chat['id']}" in piped.stderr
        shown = await run_command(url, "show", chat["id"])
        assert "   asked, by the server, at_most_once, 0 tries, " in shown.stdout
        assert "   waits for a person to allow it, until " in shown.stdout
        assert "waiting for a person to allow or deny a tool call" in shown.stdout
        document = json.loads((await run_command(url, "show", chat["id"], "--json")).stdout)
        assert [action["kind"] for action in document["chat"]["actions"]] == ["approval"]
        rest = await run_command(url, "chat", chat["id"], stdin="yes\n")
        assert "* pay\n  note: rent\n? May pay run?" in rest.stderr
        assert (rest.exit_code, rest.stdout) == (0, "done\n")
        assert len(endpoint.requests) == 2
        denied = "The user did not allow this call: never again"
        assert denied in await results_of_all_calls(chatd, chat["id"])
        await eventually(lambda: len(endpoint.requests) == 2)


async def test_two_questions_at_once_are_answered_by_two_lines(dsn: str) -> None:
    async with (
        tool_endpoint() as endpoint,
        running_daemon(dsn, provider_of_rounds([PAY, PAY]), **tools(endpoint, **ASKED)) as chatd,
    ):
        piped = await run_command(str(chatd.api.http.base_url), "chat", stdin="go\ny\nn no\n")
        assert (piped.exit_code, piped.stdout) == (0, "done\n"), piped.stderr
        assert len(endpoint.requests) == 1


async def test_question_of_the_model_is_answered_by_number(dsn: str) -> None:
    asks = '{"question": "Which colour?", "options": ["blue", "red"]}'
    rounds = [("ask_user_question", asks)], [("ask_user_question", '{"question": "Sure?"}')]
    sections = {"tools": {"builtin": ["ask_user_question"]}}
    async with running_daemon(dsn, provider_of_rounds(*rounds), **sections) as chatd:
        url = str(chatd.api.http.base_url)
        with terminal(url, "chat") as screen:
            await screen.wait_for_text("new chat | ")
            screen.type_keys("go\r")
            await screen.wait_for_text("? Which colour?\n  1 blue\n  2 red\n")
            screen.type_keys("3\r")
            await screen.wait_for_text("Type the number of one of the choices.")
            screen.type_keys("2\r")
            await screen.wait_for_text("[ask_user_question: answered]")
            await screen.wait_for_text("? Sure?")
            screen.type_keys("/decline\r")
            await screen.wait_for_text("[ask_user_question: declined]")
            [chat] = (await chatd.api.http.get("/api/v1/chats")).json()["items"]
            await chatd.api.wait_for_status(chat["id"], "waiting")
            screen.type_keys("/quit\r")
            assert await screen.wait_for_exit() == 0
        first, second = await results_of_all_calls(chatd, chat["id"])
        assert first == {"answer": "red"}
        assert "declined" in second
