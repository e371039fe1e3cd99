"""The command ``chatd migrate``."""

import asyncio
import io
import json
import os
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import pytest
from structlog.testing import capture_logs
from support.eventually import eventually

from chatd.cli.exit_codes import Exit
from chatd.cli.main import main
from chatd.store.migrations import files


async def test_migrate_commands(
    empty_dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CHATD_CONFIG", os.devnull)
    monkeypatch.setenv("CHATD_DATABASE__URL", "postgresql://127.0.0.1:1/a-pooler")
    monkeypatch.setenv("CHATD_DATABASE__DIRECT_URL", empty_dsn)
    monkeypatch.setattr("chatd.logs.configure", lambda **_: None)
    monkeypatch.setattr("sys.stdin", io.StringIO("y"))

    async def chatd(*arguments: str) -> tuple[int, str, str]:
        with capture_logs():
            code = await asyncio.to_thread(main, ["migrate", *arguments])
        return code, *capsys.readouterr()

    labels = [each.label for each in files.load_migrations()]
    applied = "".join(f"applied {label}\n" for label in labels)
    reverted = "".join(f"reverted {label}\n" for label in reversed(labels))

    assert (await chatd("up"))[:2] == (0, applied)
    assert (await chatd("up"))[:2] == (0, "Nothing to apply.\n")
    states = json.loads((await chatd("status", "--json"))[1])
    assert [f"{each['version']:04}_{each['name']}" for each in states] == labels
    assert {each["state"] for each in states} == {"applied"}
    assert (await chatd("status"))[1].startswith("VERSION  NAME")
    code, out, err = await chatd("down", "--to", "0")
    assert (code, out) == (1, "")
    assert "no terminal" in err
    assert (await chatd("down", "--to", "0", "--yes"))[:2] == (0, reverted)
    assert (await chatd("down", "--to", "0"))[:2] == (0, "Nothing to revert.\n")


async def test_up_waits_for_a_database_that_is_starting(
    empty_dsn: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """Its socket is not there yet, as in the first seconds of a server."""
    url = urlsplit(empty_dsn)
    user, _, address = url.netloc.rpartition("@")
    folder, port = address.split(":")
    if not folder.startswith("%2F"):
        pytest.skip("the server of CHATD_TEST_DSN has no Unix socket")
    later = tmp_path / "later"
    netloc = f"{user}@{quote(str(later), safe='')}:{port}"
    monkeypatch.setenv("CHATD_CONFIG", os.devnull)
    monkeypatch.setenv("CHATD_DATABASE__URL", url._replace(netloc=netloc).geturl())
    monkeypatch.setattr("chatd.logs.configure", lambda **_: None)
    with capture_logs():
        assert (
            await asyncio.to_thread(main, ["migrate", "up", "--wait-seconds", "0"])
            == Exit.DATABASE_UNAVAILABLE
        )
        shown = capsys.readouterr().err
        waiting = asyncio.create_task(asyncio.to_thread(main, ["migrate", "up"]))

        def reported() -> bool:
            nonlocal shown
            shown += capsys.readouterr().err
            return "Waiting for the database" in shown

        await eventually(reported)
        later.symlink_to(unquote(folder))
        assert await waiting == Exit.DONE
