"""``chatd chat`` on a real terminal, and between pipes."""

import json
import signal
from pathlib import Path

from running import Client, client, fact, started, text_of
from terminal import Terminal, run, terminal

CTRL_C = "\x03"


async def newest(api: Client) -> str:
    answer = await api.http.get("/api/v1/chats", params={"limit": 1})
    return str(answer.json()["items"][0]["id"])


async def moves(api: Client, chat_id: str) -> list[str]:
    answer = await api.http.get(f"/api/v1/chats/{chat_id}/events")
    return [entry["move"] for entry in answer.json()["items"]]


async def test_ctrl_c_stops_the_answer_and_another_one_leaves(tmp_path: Path, dsn: str) -> None:
    with started(tmp_path, dsn) as chatd:
        await chatd.ready()
        async with client(chatd) as api:
            with terminal(chatd.url, "chat") as screen:
                await screen.shows("a new chat")
                screen.type("[[hang]] go\r")
                await screen.shows("I begin and")
                screen.type(CTRL_C)
                await screen.shows("[stopped]")
                chat_id = await newest(api)
                chat = await api.until(chat_id, "waiting")
                assert chat["last_error"] is None
                assert "interrupt" in await moves(api, chat_id)
                await screen.shows("waiting | Ctrl-C leaves")
                screen.type(CTRL_C)
                assert await screen.ended() == 0
                await screen.shows(f"chatd chat {chat_id}")
            assert await api.texts(chat_id) == ["I begin and "]


async def test_one_comes_back_to_a_chat_and_says_it_differently(tmp_path: Path, dsn: str) -> None:
    with started(tmp_path, dsn) as chatd:
        await chatd.ready()
        async with client(chatd) as api:
            chat = await api.create("first words")
            await api.until(chat["id"], "waiting")
            with terminal(chatd.url, "chat", chat["id"][:8]) as screen:
                await screen.shows("> first words")
                await screen.shows("You said: first words")
                await talk_on(screen)
                assert await screen.ended() == 0
            assert await api.texts(chat["id"], "user") == ["first words", "/third"]
            assert await api.texts(chat["id"]) == ["You said: first words", "You said: /third"]


async def talk_on(screen: Terminal) -> None:
    screen.type("/nonsense\r")
    await screen.shows("There is no /nonsense")
    screen.type("second\r")
    await screen.shows("You said: second")
    await screen.shows("waiting | Ctrl-C leaves")
    screen.type("/edit /third\r")
    await screen.shows("from here on said differently")
    await screen.shows("You said: /third")
    screen.type("/retry\r")
    await screen.shows("nothing_to_retry")
    screen.type(CTRL_C)  # clears what could not be done
    screen.type("/quit\r")


async def test_what_is_queued_is_said_when_the_answer_is_stopped(tmp_path: Path, dsn: str) -> None:
    with started(tmp_path, dsn) as chatd:
        await chatd.ready()
        async with client(chatd) as api:
            with terminal(chatd.url, "chat") as screen:
                await screen.shows("a new chat")
                screen.type("/interrupt\r")
                await screen.shows("There is nothing to stop yet.")
                screen.type("[[hang]] go\r")
                await screen.shows("I begin and")
                chat_id = await newest(api)
                screen.type("/queue\r")
                await screen.shows("Say what: /queue TEXT")
                screen.type("/queue then this\r")
                await screen.shows("[waits in line (1)]")
                assert await queue(api, chat_id) == ["then this"]
                assert await api.texts(chat_id, "user") == ["[[hang]] go"]
                screen.type("/interrupt\r")
                await screen.shows("[stopped]")
                await screen.shows("You said: then this")
                await api.until(chat_id, "waiting")
                assert await queue(api, chat_id) == []
                await interrupted_with_words(screen, api, chat_id)
                screen.type("/quit\r")
                assert await screen.ended() == 0
            said = ["[[hang]] go", "then this", "[[hang]] more", "at once", "and later"]
            assert await api.texts(chat_id, "user") == said
            assert (await api.texts(chat_id))[:2] == ["I begin and ", "You said: then this"]
            assert (await api.texts(chat_id))[-2:] == ["You said: at once", "You said: and later"]
            assert (await moves(api, chat_id)).count("interrupt") == 1


async def interrupted_with_words(screen: Terminal, api: Client, chat_id: str) -> None:
    """What an answer is stopped for comes before what waits for its end."""
    screen.type("[[hang]] more\r")
    await api.until(chat_id, "running")
    screen.type("/queue and later\r")
    await fact(lambda: queue(api, chat_id))
    screen.type("/interrupt at once\r")
    await screen.shows("You said: at once")
    await screen.shows("You said: and later")
    await api.until(chat_id, "waiting")


async def queue(api: Client, chat_id: str) -> list[str]:
    answer = await api.http.get(f"/api/v1/chats/{chat_id}/queue")
    return [text_of(message["content"]) for message in answer.json()["items"]]


async def test_between_pipes_each_line_is_answered_in_plain_text(tmp_path: Path, dsn: str) -> None:
    with started(tmp_path, dsn) as chatd:
        await chatd.ready()
        said = await run(chatd.url, "chat", given="hello\n\n//help\n/help\nbye")
        assert said.out == "You said: hello\nYou said: /help\nYou said: bye\n"
        assert said.code == 0
        assert "/edit TEXT" in said.err
        async with client(chatd) as api:
            chat_id = await newest(api)
        again = await run(chatd.url, "chat", chat_id, given="more\n/edit less\n")
        assert again.out == "You said: more\nYou said: less\n"
        lines = await run(chatd.url, "chat", chat_id, "--json", given="json\n")
        events = [json.loads(line) for line in lines.out.splitlines()]
        assert events[0]["data"]["content"] == [{"type": "text", "text": "json"}]
        assert events[-1]["data"]["status"] == "waiting"
        failed = await run(chatd.url, "chat", given="[[panic]] now\n")
        assert failed.code == 1
        assert failed.out in {"Something is \n", ""}  # who comes late hears of the end alone
        assert "wires crossed" in failed.err


async def test_between_pipes_an_interrupt_stops_the_answer(tmp_path: Path, dsn: str) -> None:
    with started(tmp_path, dsn) as chatd:
        await chatd.ready()
        async with client(chatd) as api:
            with terminal(chatd.url, "chat", "--json") as screen:
                screen.type("[[hang]] go\n")
                await screen.shows("I begin and")
                screen.process.send_signal(signal.SIGINT)
                await screen.shows('"status": "waiting"')
                screen.type("\x04")
                assert await screen.ended() == 0
            assert "finish_interrupt" in await moves(api, await newest(api))
