"""``chatd chat`` on a real terminal, and between pipes."""

import json
import signal
from pathlib import Path

from support.commands import run_command
from support.eventually import eventually
from support.processes import chatd_process
from support.pty import Terminal, terminal
from support.sse_client import ApiClient, client, text_of

CTRL_C = "\x03"


async def newest_chat_id(api: ApiClient) -> str:
    answer = await api.http.get("/api/v1/chats", params={"limit": 1})
    return str(answer.json()["items"][0]["id"])


async def transitions(api: ApiClient, chat_id: str) -> list[str]:
    answer = await api.http.get(f"/api/v1/chats/{chat_id}/events")
    return [entry["transition"] for entry in answer.json()["items"]]


async def test_ctrl_c_interrupts_answer_and_second_one_quits(tmp_path: Path, dsn: str) -> None:
    with chatd_process(tmp_path, dsn) as chatd:
        await chatd.wait_until_ready()
        async with client(chatd) as api:
            with terminal(chatd.url, "chat") as screen:
                await screen.wait_for_text("new chat | ")
                screen.type_keys("[[hang]] go\r")
                await screen.wait_for_text("I begin and")
                screen.type_keys(CTRL_C)
                await screen.wait_for_text("[stopped]")
                chat_id = await newest_chat_id(api)
                chat = await api.wait_for_status(chat_id, "waiting")
                assert chat["last_error"] is None
                assert "interrupt" in await transitions(api, chat_id)
                await screen.wait_for_text("waiting | Ctrl-C quits")
                screen.type_keys(CTRL_C)
                assert await screen.wait_for_exit() == 0
                await screen.wait_for_text(f"chatd chat {chat_id}")
            assert await api.texts(chat_id) == ["I begin and "]


async def test_reopened_chat_edits_last_message(tmp_path: Path, dsn: str) -> None:
    with chatd_process(tmp_path, dsn) as chatd:
        await chatd.wait_until_ready()
        async with client(chatd) as api:
            chat = await api.create("first words")
            await api.wait_for_status(chat["id"], "waiting")
            with terminal(chatd.url, "chat", chat["id"][:8]) as screen:
                await screen.wait_for_text("> first words")
                await screen.wait_for_text("You said: first words")
                await use_chat_commands(screen)
                assert await screen.wait_for_exit() == 0
            assert await api.texts(chat["id"], "user") == ["first words", "/third"]
            assert await api.texts(chat["id"]) == ["You said: first words", "You said: /third"]


async def use_chat_commands(screen: Terminal) -> None:
    screen.type_keys("/nonsense\r")
    await screen.wait_for_text("Unknown command /nonsense")
    screen.type_keys("second\r")
    await screen.wait_for_text("You said: second")
    await screen.wait_for_text("waiting | Ctrl-C quits")
    screen.type_keys("/edit /third\r")
    await screen.wait_for_text("edited: the messages from here on")
    await screen.wait_for_text("You said: /third")
    screen.type_keys("/retry\r")
    await screen.wait_for_text("nothing_to_retry")
    screen.type_keys(CTRL_C)  # clears what could not be done
    screen.type_keys("/quit\r")


async def test_queued_message_is_sent_after_interrupt(tmp_path: Path, dsn: str) -> None:
    with chatd_process(tmp_path, dsn) as chatd:
        await chatd.wait_until_ready()
        async with client(chatd) as api:
            with terminal(chatd.url, "chat") as screen:
                await screen.wait_for_text("new chat | ")
                screen.type_keys("/interrupt\r")
                await screen.wait_for_text("There is nothing to stop yet.")
                screen.type_keys("[[hang]] go\r")
                await screen.wait_for_text("I begin and")
                chat_id = await newest_chat_id(api)
                screen.type_keys("/queue\r")
                await screen.wait_for_text("The message is missing: /queue TEXT")
                screen.type_keys("/queue then this\r")
                await screen.wait_for_text("[queued (1)]")
                assert await queued_texts(api, chat_id) == ["then this"]
                assert await api.texts(chat_id, "user") == ["[[hang]] go"]
                screen.type_keys("/interrupt\r")
                await screen.wait_for_text("[stopped]")
                await screen.wait_for_text("You said: then this")
                await api.wait_for_status(chat_id, "waiting")
                assert await queued_texts(api, chat_id) == []
                await interrupt_with_message(screen, api, chat_id)
                screen.type_keys("/quit\r")
                assert await screen.wait_for_exit() == 0
            expected = ["[[hang]] go", "then this", "[[hang]] more", "at once", "and later"]
            assert await api.texts(chat_id, "user") == expected
            assert (await api.texts(chat_id))[:2] == ["I begin and ", "You said: then this"]
            assert (await api.texts(chat_id))[-2:] == ["You said: at once", "You said: and later"]
            assert (await transitions(api, chat_id)).count("interrupt") == 1


async def interrupt_with_message(screen: Terminal, api: ApiClient, chat_id: str) -> None:
    """Interrupt with a message, which is answered before the queued one."""
    screen.type_keys("[[hang]] more\r")
    await api.wait_for_status(chat_id, "running")
    screen.type_keys("/queue and later\r")
    await eventually(lambda: queued_texts(api, chat_id))
    screen.type_keys("/interrupt at once\r")
    await screen.wait_for_text("You said: at once")
    await screen.wait_for_text("You said: and later")
    await api.wait_for_status(chat_id, "waiting")


async def queued_texts(api: ApiClient, chat_id: str) -> list[str]:
    answer = await api.http.get(f"/api/v1/chats/{chat_id}/queue")
    return [text_of(message["content"]) for message in answer.json()["items"]]


async def test_piped_lines_are_answered_in_plain_text(tmp_path: Path, dsn: str) -> None:
    with chatd_process(tmp_path, dsn) as chatd:
        await chatd.wait_until_ready()
        result = await run_command(chatd.url, "chat", stdin="hello\n\n//help\n/help\nbye")
        assert result.stdout == "You said: hello\nYou said: /help\nYou said: bye\n"
        assert result.exit_code == 0
        assert "/edit TEXT" in result.stderr
        async with client(chatd) as api:
            chat_id = await newest_chat_id(api)
        again = await run_command(chatd.url, "chat", chat_id, stdin="more\n/edit less\n")
        assert again.stdout == "You said: more\nYou said: less\n"
        lines = await run_command(chatd.url, "chat", chat_id, "--json", stdin="json\n")
        events = [json.loads(line) for line in lines.stdout.splitlines()]
        assert events[0]["data"]["content"] == [{"type": "text", "text": "json"}]
        assert events[-1]["data"]["status"] == "waiting"
        failed = await run_command(chatd.url, "chat", stdin="[[panic]] now\n")
        assert failed.exit_code == 1
        assert failed.stdout in {"Something is \n", ""}  # who comes late hears of the end alone
        assert "wires crossed" in failed.stderr


async def test_sigint_stops_piped_answer(tmp_path: Path, dsn: str) -> None:
    with chatd_process(tmp_path, dsn) as chatd:
        await chatd.wait_until_ready()
        async with client(chatd) as api:
            with terminal(chatd.url, "chat", "--json") as screen:
                screen.type_keys("[[hang]] go\n")
                await screen.wait_for_text("I begin and")
                screen.process.send_signal(signal.SIGINT)
                await screen.wait_for_text('"status": "waiting"')
                screen.type_keys("\x04")
                assert await screen.wait_for_exit() == 0
            assert "finish_interrupt" in await transitions(api, await newest_chat_id(api))
