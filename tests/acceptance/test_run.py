"""``chatd run`` that cannot start prints one clear line and ends with an exit code for service managers."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from support.commands import CommandResult, clean_environment, run_in_environment
from support.database_inspector import inspect_database
from support.log_event_coverage import record_event
from support.processes import chatd_process
from support.sse_client import ChatView, client

from chatd.cli.exit_codes import Exit
from chatd.cli.main import main
from chatd.store.migrations.files import load_migrations

MODEL = '[providers.fake]\nkind = "scripted"\n[models.fake]\nprovider = "fake"\nmodel = "m"\n'


def run(folder: Path, dsn: str, **environment: str) -> CommandResult:
    settings = {"CHATD_DATABASE__URL": dsn, "CHATD_HTTP__PORT": "0"} | environment
    config = configuration_in(folder)
    return run_in_environment("run", "--config", str(config), environment=settings)


def run_without_rights(folder: Path, dsn: str, **environment: str) -> CommandResult:
    """Execute the command without the right of root to use any port."""
    without = ["setpriv", "--bounding-set=-net_bind_service"] if os.geteuid() == 0 else []
    ended = subprocess.run(
        [*without, sys.executable, "-m", "chatd", "run", "--config", configuration_in(folder)],
        env=clean_environment() | {"CHATD_DATABASE__URL": dsn} | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return CommandResult(ended.returncode, ended.stdout, ended.stderr)


def configuration_in(folder: Path) -> Path:
    config = folder / "config.toml"
    config.write_text(MODEL)
    return config


def error_output(completed: CommandResult) -> str:
    """Return the standard error, which must be one line for a person and no traceback."""
    lines = completed.stderr.splitlines()
    assert not any(line.startswith("Traceback") for line in lines), completed.stderr
    said = [line for line in lines if line.startswith("chatd: ")]
    assert len(said) == 1, completed.stderr
    [failed] = log_lines(completed, "daemon.failed")
    record_event("daemon.failed")
    assert (failed["level"], f"chatd: {failed['reason']}") == ("error", said[0])
    assert not log_lines(completed, "daemon.stopped"), "it did not end in order"
    return said[0]


def log_lines(completed: CommandResult, event: str) -> list[dict[str, Any]]:
    """Return the lines of the log with this event."""
    lines = [json.loads(line) for line in completed.stderr.splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


NEWEST = len(load_migrations())
"""Version of the newest migration of this chatd."""


async def apply_newer_migration(dsn: str) -> None:
    """Return a later migration that only adds, as the first half of every change does."""
    connection = await asyncpg.connect(dsn)
    await connection.execute("ALTER TABLE chats ADD COLUMN later text; CREATE TABLE later (id int)")
    await connection.execute(
        "INSERT INTO chatd_schema_migrations (version, name, checksum, applied_by_version)"
        " VALUES ($1, 'later', 'x', '9.9')",
        NEWEST + 1,
    )
    await connection.close()


async def test_old_schema_ends_start(tmp_path: Path, empty_dsn: str) -> None:
    completed = run(tmp_path, empty_dsn)
    assert completed.exit_code == Exit.SCHEMA
    assert "schema 0000" in error_output(completed)
    assert f"needs {NEWEST:04}" in error_output(completed)
    assert "chatd migrate up" in error_output(completed)


async def test_unusable_database_url_is_named(tmp_path: Path) -> None:
    completed = run(tmp_path, "postgresql://localhost/x?sslmode=bogus")
    assert completed.exit_code == Exit.CONFIGURATION
    assert "CHATD_DATABASE__URL: sslmode must be one of disable, allow" in error_output(completed)


async def test_migrate_up_and_down(empty_dsn: str) -> None:
    def migrate(*arguments: str) -> Any:
        completed = run_in_environment(
            "migrate", *arguments, "--json", environment={"CHATD_DATABASE__URL": empty_dsn}
        )
        assert completed.exit_code == Exit.DONE, completed.stderr
        return json.loads(completed.stdout)

    first, *others = [
        {"version": migration.version, "name": migration.name} for migration in load_migrations()
    ]
    assert migrate("up", "--to", "1") == {"applied": [first]}
    assert migrate("up") == {"applied": others}
    assert migrate("up") == {"applied": []}
    newest = [first, *others][-1]
    assert newest["version"] == NEWEST
    assert migrate("down", "--to", str(NEWEST - 1), "--yes") == {"reverted": [newest]}


async def test_newer_schema_ends_start(tmp_path: Path, dsn: str) -> None:
    await apply_newer_migration(dsn)
    completed = run(tmp_path, dsn)
    assert completed.exit_code == Exit.SCHEMA
    assert f"schema {NEWEST + 1:04}" in error_output(completed)
    assert f"knows only {NEWEST:04}" in error_output(completed)
    assert "run chatd 9.9 or newer" in error_output(completed)
    completed = run(tmp_path, dsn, CHATD_DATABASE__MIGRATE_ON_START="true")
    assert completed.exit_code == Exit.SCHEMA, "nor may it touch what it does not know"


async def test_running_process_survives_migration(tmp_path: Path, dsn: str) -> None:
    with chatd_process(tmp_path, dsn) as chatd:
        await chatd.wait_until_ready()
        async with client(chatd) as api, inspect_database(dsn) as db:
            chat_id, view = (await api.create("[[slow]]"))["id"], ChatView()
            await api.follow(chat_id, view, lambda view: len(view.preview) > 5)
            await apply_newer_migration(dsn)
            await api.send(chat_id, "and then?")
            await api.follow(chat_id, view, lambda view: len(view.messages) == 4)
            await api.wait_for_status(chat_id, "waiting")
            assert await db.transitions(chat_id) == [
                *("create", "claim", "send", "finish_turn", "finish_turn")
            ]
            assert (await api.http.get("/readyz")).status_code == 200


def test_configuration_error_is_logged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    completed = run(tmp_path, "postgresql:///x", CHATD_HTTP__PORT="x", CHATD_HTTP__PROT="1")
    assert completed.exit_code == Exit.CONFIGURATION
    plain = [line for line in completed.stderr.splitlines() if line.startswith("chatd: ")]
    assert len(plain) == 2
    [failed] = log_lines(completed, "daemon.failed")
    assert [f"chatd: {line}" for line in failed["reason"].splitlines()] == plain
    (tmp_path / "log").write_text(completed.stderr)
    assert main(["logs", str(tmp_path / "log"), "--level", "error"]) == Exit.DONE
    shown = capsys.readouterr().out
    assert "daemon.failed" in shown
    assert "CHATD_HTTP__PROT: unknown key" in shown


async def test_port_in_use_is_named(tmp_path: Path, dsn: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        completed = run(tmp_path, dsn, CHATD_HTTP__PORT=port)
    assert completed.exit_code == Exit.CONFIGURATION
    expected = (
        f"cannot listen on 127.0.0.1 port {port}: another process has it. Choose another port"
    )
    assert expected in error_output(completed)
    events = [json.loads(line) for line in completed.stderr.splitlines() if line.startswith("{")]
    assert [each["event"] for each in events if each["level"] != "info"] == ["daemon.failed"]
    assert "exception" not in completed.stderr
    assert "Errno" not in completed.stderr


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("203.0.113.77", "no interface of this machine has this address"),
        ("a..b", "it is no address"),
        ("host.invalid", "it is no address"),
    ],
)
async def test_host_that_is_not_here_is_named(
    host: str, reason: str, tmp_path: Path, dsn: str
) -> None:
    environment = {"CHATD_HTTP__HOST": host, "CHATD_AUTH__MODE": "token"}
    completed = run(tmp_path, dsn, **environment)
    assert completed.exit_code == Exit.CONFIGURATION
    expected = f"http.host, http.port: cannot listen on {host} port 0: {reason}"
    assert expected in error_output(completed)
    assert "exception" not in completed.stderr


@pytest.mark.skipif(
    int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= 80,
    reason="everybody may listen on port 80 here",
)
async def test_port_of_root_is_named(tmp_path: Path, dsn: str) -> None:
    completed = run_without_rights(tmp_path, dsn, CHATD_HTTP__PORT="80")
    assert completed.exit_code == Exit.CONFIGURATION
    expected = "port 80: only root, or a process with CAP_NET_BIND_SERVICE, may use it"
    assert expected in error_output(completed)
    assert "exception" not in completed.stderr


async def test_missing_database_is_named(tmp_path: Path, empty_dsn: str) -> None:
    completed = run(tmp_path, empty_dsn.rsplit("/", 1)[0] + "/nowhere")
    assert completed.exit_code == Exit.CONFIGURATION
    assert "nowhere" in error_output(completed)
