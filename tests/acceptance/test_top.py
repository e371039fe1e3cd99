"""``chatd top``: what one process is doing, for people and for scripts."""

import json
from pathlib import Path

from running import client, started
from terminal import run, terminal

from chatd.cli.exits import Exit


async def test_the_picture_of_a_process(tmp_path: Path, dsn: str) -> None:
    with started(tmp_path, dsn) as chatd:
        await chatd.ready()
        async with client(chatd) as api:
            chat = await api.create("[[hang]]")
            await api.until(chat["id"], "running")
            shown = await run(chatd.url, "top", "--once")
            assert shown.code == 0, shown.err
            assert str(chatd.worker_id) in shown.out
            [row] = [line for line in shown.out.splitlines() if line.startswith(chat["id"])]
            assert "running" in row
            assert "model stream" in row
            for actor in ("listener", "heartbeat", "acquirer", "http", "census"):
                assert any(line.startswith(actor) for line in shown.out.splitlines()), actor
            told = await run(chatd.url, "top", "--json")
            status = json.loads(told.out)
            assert [one["chat_id"] for one in status["chats"]] == [chat["id"]]
            assert status["phase"] == "serving"


async def test_it_goes_on_until_one_has_seen_enough(tmp_path: Path, dsn: str) -> None:
    with started(tmp_path, dsn) as chatd:
        await chatd.ready()
        async with client(chatd) as api:
            with terminal(chatd.url, "top", "--interval", "0.1") as screen:
                await screen.shows("0 chats in hand")
                chat = await api.create("[[hang]]")
                await screen.shows(chat["id"][:20])
                screen.type("\x03")
                assert await screen.ended() == Exit.INTERRUPTED


async def test_it_is_for_admins(tmp_path: Path, dsn: str) -> None:
    with started(tmp_path, dsn, settings='[auth]\nmode = "token"') as chatd:
        await chatd.ready()
        refused = await run(chatd.url, "top", "--once")
        assert (refused.code, refused.out) == (Exit.UNAUTHORIZED, "")
        assert "'chatd token create --owner NAME'" in refused.err
        here = {"CHATD_DATABASE__URL": dsn, "CHATD_CONFIG": str(chatd.config)}
        for more, code in (((), Exit.UNAUTHORIZED), (("--admin",), 0)):
            made = await run(chatd.url, "token", "create", "--owner", "ann", *more, **here)
            shown = await run(chatd.url, "top", "--once", CHATD_TOKEN=made.out.strip())
            assert shown.code == code
            assert ("token create --owner NAME --admin" in shown.err) is bool(code)
