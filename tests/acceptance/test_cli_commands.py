"""Commands of the CLI against a running chatd, and their errors when it is unavailable."""

import json
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import anyio
import pytest
from support.commands import CommandResult, run_command
from support.eventually import TIMEOUT_SECONDS
from support.processes import ChatdProcess, chatd_process
from support.pty import terminal
from support.sse_client import ApiClient, client

from chatd.cli.exit_codes import Exit
from chatd.client import Client as Caller
from chatd.client import Snapshot, Unauthorized

CTRL_C = "\x03"
NOBODY = "http://127.0.0.1:1"
Asking = Callable[..., Awaitable[CommandResult]]
UNKNOWN = "00000000-0000-4000-8000-000000000000"


async def test_interrupt_and_retry(tmp_path: Path, dsn: str) -> None:
    with chatd_process(tmp_path, dsn) as chatd:
        await chatd.wait_until_ready()
        async with client(chatd) as api:
            hanging = await api.create("[[hang]]")
            await api.wait_for_status(hanging["id"], "running")
            stopped = await run_command(chatd.url, "interrupt", hanging["id"][:6])
            assert stopped.exit_code == 0
            assert stopped.stdout.startswith(f"{hanging['id']} is ")
            await api.wait_for_status(hanging["id"], "waiting")
            idle = await run_command(chatd.url, "retry", hanging["id"])
            assert (idle.exit_code, idle.stdout) == (Exit.FAILED, "")
            assert "nothing_to_retry" in idle.stderr
            failing = await api.create("[[panic]]")
            await api.wait_for_status(failing["id"], "error")
            retried = await run_command(chatd.url, "retry", failing["id"], "--json")
            assert retried.exit_code == 0
            assert json.loads(retried.stdout)["status"] == "pending"


async def test_ctrl_c_works_where_sigint_was_inherited_as_ignored(tmp_path: Path) -> None:
    log = tmp_path / "chatd.log"
    log.write_text('{"event": "chat.panicked", "level": "error"}\n')
    ignoring = ["sh", "-c", 'trap "" INT; exec "$@"', "sh"]
    with terminal(NOBODY, "logs", "--follow", str(log), through=ignoring) as screen:
        await screen.wait_for_text("chat.panicked")
        screen.type_keys(CTRL_C)
        assert await screen.wait_for_exit() == Exit.INTERRUPTED


async def test_tail_follows_until_chat_is_idle(tmp_path: Path, dsn: str) -> None:
    with chatd_process(tmp_path, dsn) as chatd:
        await chatd.wait_until_ready()
        async with client(chatd) as api:
            chat = await api.create()
            with terminal(chatd.url, "tail", chat["id"]) as screen:
                await screen.wait_for_text("snapshot")
                await api.send(chat["id"], "hello")
                await screen.wait_for_text("assistant #4000001: You said: hello")
                screen.type_keys(CTRL_C)
                assert await screen.wait_for_exit() == Exit.INTERRUPTED
            await api.send(chat["id"], "[[slow]]")
            result = await run_command(
                chatd.url, "tail", chat["id"], "--until-idle", "--json", "--after=1.0.0"
            )
        events = [json.loads(line) for line in result.stdout.splitlines()]
        roles = [e["data"]["role"] for e in events if e["event"] == "message"]
        assert roles == ["user", "assistant", "user", "assistant"][: len(roles)]
        assert events[-1]["event"] == "status"


async def test_ps_lists_chats(tmp_path: Path, dsn: str) -> None:
    with chatd_process(tmp_path, dsn) as chatd:
        await chatd.wait_until_ready()
        async with client(chatd) as api:
            quiet = await api.create(title="a quiet one", labels={"team": "red"})
            await failed(api)
            every = await run_command(chatd.url, "ps", "--once")
            head, *rows = every.stdout.splitlines()
            assert head.split() == ["CHAT", "STATUS", "UPDATED", "QUEUE", "MODEL", "TITLE"]
            assert len(rows) == 2
            assert any("a quiet one" in row and quiet["id"][:8] in row for row in rows)
            assert any(" error " in row and "wires crossed" in row for row in rows)
            ids = await run_command(chatd.url, "ps", "--once", "--json", "--status", "waiting")
            assert [chat["id"] for chat in json.loads(ids.stdout)] == [quiet["id"]]
            await check_live_table(chatd, api)


async def failed(api: ApiClient) -> None:
    chat = await api.create("[[panic]]")
    await api.wait_for_status(chat["id"], "error")


async def check_live_table(chatd: ChatdProcess, api: ApiClient) -> None:
    with terminal(chatd.url, "ps", "--label", "team:blue") as screen:
        await screen.wait_for_text("CHAT")
        assert "quiet" not in screen.text
        await api.create(title="brand new", labels={"team": "blue"})
        await screen.wait_for_text("brand new")
        assert "quiet" not in screen.text
        screen.type_keys(CTRL_C)
        assert await screen.wait_for_exit() == Exit.INTERRUPTED


async def test_show_prints_whole_chat(tmp_path: Path, dsn: str) -> None:
    with chatd_process(tmp_path, dsn) as chatd:
        await chatd.wait_until_ready()
        async with client(chatd) as api:
            chat = await api.create("[[hang]] on", title="a title")
            await api.wait_for_status(chat["id"], "running")
            await api.send(chat["id"], "next please")
        shown = await run_command(chatd.url, "show", chat["id"])
        assert shown.exit_code == 0, shown.stderr
        for words in (chat["id"], "a title", "running", "[[hang]] on", "queued #", "next please"):
            assert words in shown.stdout
        document = json.loads((await run_command(chatd.url, "show", chat["id"], "--json")).stdout)
        assert document.keys() == {
            *("chat", "children", "messages", "queue", "tool_calls", "explain")
        }
        assert document["queue"][0]["content"][0]["text"] == "next please"


async def test_errors_are_reported_with_exit_codes(tmp_path: Path, dsn: str) -> None:
    away = await run_command(NOBODY, "show", UNKNOWN)
    assert (away.exit_code, away.stdout) == (Exit.SERVER_UNAVAILABLE, "")
    assert NOBODY in away.stderr
    assert "chatd dev" in away.stderr
    with chatd_process(tmp_path, dsn) as chatd:
        await chatd.wait_until_ready()
        for prefix in (UNKNOWN, "0000", "no"):
            unknown = await run_command(chatd.url, "tail", prefix)
            assert (unknown.exit_code, unknown.stdout) == (Exit.NOT_FOUND, "")
            assert prefix in unknown.stderr
        nowhere = await run_command(chatd.url, "ps", "--token-file", "/nowhere")
        assert nowhere.exit_code == Exit.FAILED
        assert "/nowhere: No such file" in nowhere.stderr
        other = await run_command(f"{chatd.url}/docs", "ps", "--once")
        assert other.exit_code in {Exit.SERVER_UNAVAILABLE, Exit.NOT_FOUND}
        for one in (away, unknown, nowhere, other):
            assert all(line.startswith("chatd: ") for line in one.stderr.splitlines())


async def test_commands_require_token_and_stream_ends_on_revocation(
    tmp_path: Path, dsn: str
) -> None:
    with chatd_process(tmp_path, dsn, settings='[auth]\nmode = "token"\n') as chatd:
        await chatd.wait_until_ready()
        variables = {"CHATD_DATABASE__URL": dsn, "CHATD_CONFIG": str(chatd.config)}
        made = await run_command(chatd.url, "token", "create", "--owner", "ann", **variables)
        token = made.stdout.strip()
        nobody = await run_command(chatd.url, "ps", "--once")
        assert (nobody.exit_code, nobody.stdout) == (Exit.UNAUTHORIZED, "")
        assert "chatd token create" in nobody.stderr
        file = tmp_path / "token"
        file.write_text(f"{token}\n")
        answered = await run_command(chatd.url, "chat", "--token-file", str(file), stdin="hello")
        assert (answered.exit_code, answered.stdout) == (0, "You said: hello\n")
        listed = await run_command(chatd.url, "ps", "--once", "--json", CHATD_TOKEN=token)
        (chat,) = json.loads(listed.stdout)
        assert chat["owner_id"] == "ann"
        async with Caller(chatd.url, token=token) as caller, caller.follow(chat["id"]) as events:
            assert isinstance(await anext(events), Snapshot)
            known = json.loads(
                (await run_command(chatd.url, "token", "list", "--json", **variables)).stdout
            )
            await run_command(chatd.url, "token", "revoke", known[0]["id"], **variables)
            with anyio.fail_after(TIMEOUT_SECONDS), pytest.raises(Unauthorized):
                await anext(events)


async def test_acting_for_another_owner(tmp_path: Path, dsn: str) -> None:
    with chatd_process(tmp_path, dsn, settings='[auth]\nmode = "token"\n') as chatd:
        await chatd.wait_until_ready()

        async def caller(*arguments: str) -> Asking:
            variables = {"CHATD_DATABASE__URL": dsn, "CHATD_CONFIG": str(chatd.config)}
            made = await run_command(
                chatd.url, "token", "create", "--owner", *arguments, **variables
            )
            return partial(run_command, chatd.url, CHATD_TOKEN=made.stdout.strip())

        zoe, bob = await caller("zoë"), await caller("bob")
        admin = await caller("ops", "--scope", "act-for", "--scope", "chats")
        assert (await zoe("chat", stdin="[[panic]]")).exit_code == Exit.FAILED
        [chat] = json.loads((await zoe("ps", "--once", "--json")).stdout)
        start = chat["id"][:8]
        assert json.loads((await admin("ps", "--once", "--json")).stdout) == []
        [seen] = json.loads((await admin("ps", "--once", "--json", "--owner", "zoë")).stdout)
        assert (seen["id"], seen["owner_id"], seen["status"]) == (chat["id"], "zoë", "error")
        unknown = await admin("retry", start)
        assert (unknown.exit_code, unknown.stdout) == (Exit.NOT_FOUND, "")
        assert (
            unknown.stderr == f"chatd: None of your 200 most recent chats begins with {start!r}.\n"
        )
        assert "owner       zoë" in (await admin("show", start, "--owner", "zoë")).stdout
        retried = await admin("retry", start, "--owner", "zoë")
        assert (retried.exit_code, retried.stdout) == (0, f"{chat['id']} is pending\n")
        result = await admin("tail", start, "--owner", "zoë", "--until-idle")
        assert result.exit_code == 0
        assert (await admin("interrupt", start, "--owner", "zoë")).exit_code == 0
        roles = await admin("chat", start, "--owner", "zoë", stdin="hello")
        assert (roles.exit_code, roles.stdout) == (0, "You said: hello\n")
        for command in (["ps", "--once"], ["retry", start], ["show", chat["id"]]):
            refused = await bob(*command, "--owner", "zoë")
            assert (refused.exit_code, refused.stdout) == (Exit.UNAUTHORIZED, "")
            assert "takes a token with the scope act-for" in refused.stderr
            assert "chatd token create --owner NAME --scope SCOPE" in refused.stderr
