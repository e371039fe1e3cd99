"""What people ask of a running chatd, and what they are told when it cannot be had."""

import json
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import anyio
import pytest
from running import FACT_SECONDS, Chatd, Client, client, started
from terminal import Ran, run, terminal

from chatd.cli.exits import Exit
from chatd.client import Client as Caller
from chatd.client import Snapshot, Unauthorized

NOBODY = "http://127.0.0.1:1"
Asking = Callable[..., Awaitable[Ran]]
UNKNOWN = "00000000-0000-4000-8000-000000000000"


async def test_interrupt_and_retry(tmp_path: Path, dsn: str) -> None:
    with started(tmp_path, dsn) as chatd:
        await chatd.ready()
        async with client(chatd) as api:
            hanging = await api.create("[[hang]]")
            await api.until(hanging["id"], "running")
            stopped = await run(chatd.url, "interrupt", hanging["id"][:6])
            assert stopped.code == 0
            assert stopped.out.startswith(f"{hanging['id']} is ")
            await api.until(hanging["id"], "waiting")
            idle = await run(chatd.url, "retry", hanging["id"])
            assert (idle.code, idle.out) == (Exit.FAILED, "")
            assert "nothing_to_retry" in idle.err
            failing = await api.create("[[panic]]")
            await api.until(failing["id"], "error")
            tried = await run(chatd.url, "retry", failing["id"], "--json")
            assert tried.code == 0
            assert json.loads(tried.out)["status"] == "pending"


async def test_tail_follows_until_the_chat_rests(tmp_path: Path, dsn: str) -> None:
    with started(tmp_path, dsn) as chatd:
        await chatd.ready()
        async with client(chatd) as api:
            chat = await api.create()
            with terminal(chatd.url, "tail", chat["id"]) as screen:
                await screen.shows("snapshot")
                await api.send(chat["id"], "hello")
                await screen.shows("assistant #2: You said: hello")
                screen.type("\x03")
                assert await screen.ended() == Exit.INTERRUPTED
            await api.send(chat["id"], "[[slow]]")
            told = await run(
                chatd.url, "tail", chat["id"], "--until-idle", "--json", "--after=1.0.0"
            )
        events = [json.loads(line) for line in told.out.splitlines()]
        said = [e["data"]["role"] for e in events if e["event"] == "message"]
        assert said == ["user", "assistant", "user", "assistant"][: len(said)]
        assert events[-1]["event"] == "status"


async def test_a_table_of_chats(tmp_path: Path, dsn: str) -> None:
    with started(tmp_path, dsn) as chatd:
        await chatd.ready()
        async with client(chatd) as api:
            quiet = await api.create(title="a quiet one", labels={"team": "red"})
            await failed(api)
            every = await run(chatd.url, "ps", "--once")
            head, *rows = every.out.splitlines()
            assert head.split() == ["CHAT", "STATUS", "TOUCHED", "QUEUE", "MODEL", "TITLE"]
            assert len(rows) == 2
            assert any("a quiet one" in row and quiet["id"][:8] in row for row in rows)
            assert any(" error " in row and "wires crossed" in row for row in rows)
            ids = await run(chatd.url, "ps", "--once", "--json", "--status", "waiting")
            assert [chat["id"] for chat in json.loads(ids.out)] == [quiet["id"]]
            await see_it_live(chatd, api)


async def failed(api: Client) -> None:
    chat = await api.create("[[panic]]")
    await api.until(chat["id"], "error")


async def see_it_live(chatd: Chatd, api: Client) -> None:
    with terminal(chatd.url, "ps", "--label", "team:blue") as screen:
        await screen.shows("CHAT")
        assert "quiet" not in screen.text
        await api.create(title="brand new", labels={"team": "blue"})
        await screen.shows("brand new")
        assert "quiet" not in screen.text
        screen.type("\x03")
        assert await screen.ended() == Exit.INTERRUPTED


async def test_everything_about_a_chat(tmp_path: Path, dsn: str) -> None:
    with started(tmp_path, dsn) as chatd:
        await chatd.ready()
        async with client(chatd) as api:
            chat = await api.create("[[hang]] on", title="a title")
            await api.until(chat["id"], "running")
            await api.send(chat["id"], "next please")
        shown = await run(chatd.url, "show", chat["id"])
        assert shown.code == 0, shown.err
        for words in (chat["id"], "a title", "running", "[[hang]] on", "waiting #", "next please"):
            assert words in shown.out
        document = json.loads((await run(chatd.url, "show", chat["id"], "--json")).out)
        assert document.keys() == {"chat", "messages", "queue", "explain"}
        assert document["queue"][0]["content"][0]["text"] == "next please"


async def test_what_cannot_be_had_is_said(tmp_path: Path, dsn: str) -> None:
    away = await run(NOBODY, "show", UNKNOWN)
    assert (away.code, away.out) == (Exit.SERVER_UNAVAILABLE, "")
    assert NOBODY in away.err
    assert "chatd dev" in away.err
    with started(tmp_path, dsn) as chatd:
        await chatd.ready()
        for given in (UNKNOWN, "0000", "no"):
            unknown = await run(chatd.url, "tail", given)
            assert (unknown.code, unknown.out) == (Exit.NOT_FOUND, "")
            assert given in unknown.err
        nowhere = await run(chatd.url, "ps", "--token-file", "/nowhere")
        assert nowhere.code == Exit.FAILED
        assert "/nowhere: No such file" in nowhere.err
        other = await run(f"{chatd.url}/docs", "ps", "--once")
        assert other.code in {Exit.SERVER_UNAVAILABLE, Exit.NOT_FOUND}
        for one in (away, unknown, nowhere, other):
            assert all(line.startswith("chatd: ") for line in one.err.splitlines())


async def test_who_calls_is_asked_for_and_a_stream_ends_with_its_token(
    tmp_path: Path, dsn: str
) -> None:
    with started(tmp_path, dsn, settings='[auth]\nmode = "token"\n') as chatd:
        await chatd.ready()
        here = {"CHATD_DATABASE__URL": dsn, "CHATD_CONFIG": str(chatd.config)}
        made = await run(chatd.url, "token", "create", "--owner", "ann", **here)
        token = made.out.strip()
        nobody = await run(chatd.url, "ps", "--once")
        assert (nobody.code, nobody.out) == (Exit.UNAUTHORIZED, "")
        assert "chatd token create" in nobody.err
        file = tmp_path / "token"
        file.write_text(f"{token}\n")
        answered = await run(chatd.url, "chat", "--token-file", str(file), given="hello")
        assert (answered.code, answered.out) == (0, "You said: hello\n")
        listed = await run(chatd.url, "ps", "--once", "--json", CHATD_TOKEN=token)
        (chat,) = json.loads(listed.out)
        assert chat["owner_id"] == "ann"
        async with Caller(chatd.url, token=token) as caller, caller.follow(chat["id"]) as events:
            assert isinstance(await anext(events), Snapshot)
            known = json.loads((await run(chatd.url, "token", "list", "--json", **here)).out)
            await run(chatd.url, "token", "revoke", known[0]["id"], **here)
            with anyio.fail_after(FACT_SECONDS), pytest.raises(Unauthorized):
                await anext(events)


async def test_an_admin_acts_for_another_owner(tmp_path: Path, dsn: str) -> None:
    with started(tmp_path, dsn, settings='[auth]\nmode = "token"\n') as chatd:
        await chatd.ready()

        async def caller(*who: str) -> Asking:
            here = {"CHATD_DATABASE__URL": dsn, "CHATD_CONFIG": str(chatd.config)}
            made = await run(chatd.url, "token", "create", "--owner", *who, **here)
            return partial(run, chatd.url, CHATD_TOKEN=made.out.strip())

        zoe, admin, bob = await caller("zoë"), await caller("ops", "--admin"), await caller("bob")
        assert (await zoe("chat", given="[[panic]]")).code == Exit.FAILED
        [chat] = json.loads((await zoe("ps", "--once", "--json")).out)
        start = chat["id"][:8]
        assert json.loads((await admin("ps", "--once", "--json")).out) == []
        [seen] = json.loads((await admin("ps", "--once", "--json", "--owner", "zoë")).out)
        assert (seen["id"], seen["owner_id"], seen["status"]) == (chat["id"], "zoë", "error")
        unknown = await admin("retry", start)
        assert (unknown.code, unknown.out) == (Exit.NOT_FOUND, "")
        assert unknown.err == f"chatd: None of your 200 most recent chats begins with {start!r}.\n"
        assert "owner       zoë" in (await admin("show", start, "--owner", "zoë")).out
        tried = await admin("retry", start, "--owner", "zoë")
        assert (tried.code, tried.out) == (0, f"{chat['id']} is pending\n")
        told = await admin("tail", start, "--owner", "zoë", "--until-idle")
        assert told.code == 0
        assert (await admin("interrupt", start, "--owner", "zoë")).code == 0
        said = await admin("chat", start, "--owner", "zoë", given="hello")
        assert (said.code, said.out) == (0, "You said: hello\n")
        for command in (["ps", "--once"], ["retry", start], ["show", chat["id"]]):
            refused = await bob(*command, "--owner", "zoë")
            assert (refused.code, refused.out) == (Exit.UNAUTHORIZED, "")
            assert "only an admin may act for another owner" in refused.err
            assert "chatd token create --owner NAME --admin" in refused.err
