"""Access tokens from the command line to the API: created, shown once, listed and revoked."""

import json
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from support.auth import bearer, last_accepted_at
from support.processes import SCRIPTS, chatd_process

from chatd.cli.exit_codes import Exit
from chatd.cli.main import main

Captured = pytest.CaptureFixture[str]

SETTINGS = '[auth]\nmode = "token"\n'


@pytest.fixture(autouse=True)
def _a_configuration_of_this_test(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dsn: str
) -> None:
    config = tmp_path / "chatd.toml"
    config.write_text(f"{SETTINGS}{SCRIPTS}")
    monkeypatch.setenv("CHATD_CONFIG", str(config))
    monkeypatch.setenv("CHATD_DATABASE__URL", dsn)
    monkeypatch.setattr("chatd.logs.configure", lambda **_: None)


async def chatd(*command: str) -> int:
    """Run a command in a thread, where it has an event loop of its own."""
    return int(await anyio.to_thread.run_sync(main, command))


async def test_token_lifecycle(capsys: Captured, tmp_path: Path, dsn: str) -> None:
    assert await chatd("token", "create", "--owner", "ann", "--name", "laptop") == Exit.DONE
    out, err = capsys.readouterr()
    secret = out.strip()
    assert out == f"{secret}\n", "nothing but the token, for $(...)"
    assert secret not in err
    assert "ann" in err
    with chatd_process(tmp_path, dsn, settings=SETTINGS) as process:
        await process.wait_until_ready()
        async with httpx2.AsyncClient(base_url=process.url, headers=bearer(secret)) as http:
            answer = await http.post("/api/v1/chats", json={"title": "mine"})
            assert answer.json()["owner_id"] == "ann"
            assert await chatd("token", "list", "--json") == Exit.DONE
            (listed,) = json.loads(capsys.readouterr().out)
            assert listed["last_used_at"] is not None
            assert await chatd("token", "revoke", listed["id"]) == Exit.DONE
            revoked_at = anyio.current_time()
            assert await last_accepted_at(http, "/api/v1/chats", {}) < revoked_at + 1
        assert not [line for line in process.raw_lines if secret in line], "a secret in the log"
    capsys.readouterr()
    assert await chatd("token", "revoke", listed["id"], "--json") == Exit.DONE
    again = json.loads(capsys.readouterr().out)
    assert (again["id"], again["state"]) == (listed["id"], "revoked")
    assert await chatd("token", "list", "--owner", "ann") == Exit.DONE
    out = capsys.readouterr().out
    assert "laptop" in out
    assert "revoked" in out
    assert secret not in out
    assert await chatd("token", "list", "--owner", "bob", "--json") == Exit.DONE
    assert json.loads(capsys.readouterr().out) == []


async def test_token_create_options(capsys: Captured) -> None:
    made: list[dict[str, Any]] = []
    for options in (
        [],
        ["--scope", "metrics", "--scope", "act-for"],
        ["--expires", "1w2d12h"],
        ["--expires", "2099-01-31"],
        ["--expires", "2099-01-31T12:00:00+02:00"],
    ):
        assert await chatd("token", "create", "--owner", "zoë", "--json", *options) == Exit.DONE
        made.append(json.loads(capsys.readouterr().out))
    assert {one["owner_id"] for one in made} == {"zoë"}
    assert await chatd("token", "list", "--json") == Exit.DONE
    assert '"owner_id": "zoë"' in capsys.readouterr().out
    assert [one["scopes"] for one in made] == [["chats"], ["act-for", "metrics"], *[["chats"]] * 3]
    assert [one["expires_at"] for one in made][:2] == [None, None]
    assert made[3]["expires_at"] == "2099-01-31 00:00:00+00:00"
    assert made[4]["expires_at"] == "2099-01-31 10:00:00+00:00"
    assert len({one["token"] for one in made}) == 5


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (["create"], Exit.USAGE, "--owner"),
        (["create", "--owner", "a", "--scope", "root"], Exit.USAGE, "root"),
        (["create", "--owner", ""], Exit.USAGE, "an owner is a name"),
        (
            ["create", "--owner", "a", "--expires", "soon"],
            Exit.USAGE,
            '"soon" is neither a duration (15m',
        ),
        (["create", "--owner", "a", "--expires", "0d"], Exit.USAGE, "with no duration"),
        (["create", "--owner", "a", "--expires", "999999w"], Exit.USAGE, "too long"),
        (["create", "--owner", "a", "--expires", "2001-01-01"], Exit.USAGE, "is in the past"),
        (["revoke", "no-uuid"], Exit.USAGE, "no-uuid"),
        (["revoke", "00000000-0000-4000-8000-000000000000"], Exit.FAILED, "There is no token 0000"),
    ],
)
async def test_invalid_arguments_are_reported(
    command: list[str], code: int, words: str, capsys: Captured
) -> None:
    assert await chatd("token", *command) == code
    out, err = capsys.readouterr()
    assert words in err
    assert out == ""


async def test_token_create_warns_without_authentication(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHATD_AUTH__MODE", "none")
    assert await chatd("token", "create", "--owner", "ann") == Exit.DONE
    assert 'auth.mode is "none"' in capsys.readouterr().err
