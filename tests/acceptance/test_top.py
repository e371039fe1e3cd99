"""``chatd top``: the status of one process, for people and for scripts."""

import json
from pathlib import Path

from support.commands import run_command
from support.processes import chatd_process
from support.pty import terminal
from support.sse_client import client

from chatd.cli.exit_codes import Exit


async def test_top_prints_process_status(tmp_path: Path, dsn: str) -> None:
    with chatd_process(tmp_path, dsn) as chatd:
        await chatd.wait_until_ready()
        async with client(chatd) as api:
            chat = await api.create("[[hang]]")
            await api.wait_for_status(chat["id"], "running")
            shown = await run_command(chatd.url, "top", "--once")
            assert shown.exit_code == 0, shown.stderr
            assert str(chatd.worker_id) in shown.stdout
            [row] = [line for line in shown.stdout.splitlines() if line.startswith(chat["id"])]
            assert "running" in row
            assert "model stream" in row
            for actor in ("listener", "heartbeat", "claimer", "http", "stats collector"):
                assert any(line.startswith(actor) for line in shown.stdout.splitlines()), actor
            told = await run_command(chatd.url, "top", "--json")
            status = json.loads(told.stdout)
            assert [one["chat_id"] for one in status["chats"]] == [chat["id"]]
            assert status["phase"] == "serving"


async def test_top_refreshes_until_interrupted(tmp_path: Path, dsn: str) -> None:
    with chatd_process(tmp_path, dsn) as chatd:
        await chatd.wait_until_ready()
        async with client(chatd) as api:
            with terminal(chatd.url, "top", "--interval", "0.1") as screen:
                await screen.wait_for_text("0 leased chats")
                chat = await api.create("[[hang]]")
                await screen.wait_for_text(chat["id"][:20])
                screen.type_keys("\x03")
                assert await screen.wait_for_exit() == Exit.INTERRUPTED


async def test_top_requires_the_scope_operate(tmp_path: Path, dsn: str) -> None:
    with chatd_process(tmp_path, dsn, settings='[auth]\nmode = "token"') as chatd:
        await chatd.wait_until_ready()
        refused = await run_command(chatd.url, "top", "--once")
        assert (refused.exit_code, refused.stdout) == (Exit.UNAUTHORIZED, "")
        assert "'chatd token create --owner NAME'" in refused.stderr
        here = {"CHATD_DATABASE__URL": dsn, "CHATD_CONFIG": str(chatd.config)}
        for more, code in (((), Exit.UNAUTHORIZED), (("--scope", "operate"), 0)):
            made = await run_command(chatd.url, "token", "create", "--owner", "ann", *more, **here)
            shown = await run_command(chatd.url, "top", "--once", CHATD_TOKEN=made.stdout.strip())
            assert shown.exit_code == code
            assert ("token create --owner NAME --scope SCOPE" in shown.stderr) is bool(code)
