"""``chatd run`` that cannot run: one clear line, and an exit code that a service manager understands."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import asyncpg

from chatd.cli.exits import Exit

MODEL = '[providers.fake]\nkind = "scripted"\n[models.fake]\nprovider = "fake"\nmodel = "m"\n'


def run(folder: Path, dsn: str, **environment: str) -> subprocess.CompletedProcess[str]:
    config = folder / "config.toml"
    config.write_text(MODEL)
    clean = {k: v for k, v in os.environ.items() if not k.startswith("CHATD_")}
    return subprocess.run(
        [sys.executable, "-m", "chatd", "run", "--config", str(config)],
        env=clean | {"CHATD_DATABASE__URL": dsn, "CHATD_HTTP__PORT": "0"} | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def complaint(done: subprocess.CompletedProcess[str]) -> str:
    """What was said, which is one line for a person and no traceback."""
    lines = done.stderr.splitlines()
    assert not any(line.startswith("Traceback") for line in lines), done.stderr
    said = [line for line in lines if line.startswith("chatd: ")]
    assert len(said) == 1, done.stderr
    return said[0]


async def test_a_schema_that_is_behind_is_refused(tmp_path: Path, empty_dsn: str) -> None:
    done = run(tmp_path, empty_dsn)
    assert done.returncode == Exit.SCHEMA
    assert "schema 0000" in complaint(done)
    assert "needs 0001" in complaint(done)
    assert "chatd migrate up" in complaint(done)


async def test_a_schema_that_is_ahead_is_refused(tmp_path: Path, dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute(
        "INSERT INTO chatd_schema_migrations (version, name, checksum, applied_by_version)"
        " VALUES (2, 'later', 'x', '9.9')"
    )
    await connection.close()
    done = run(tmp_path, dsn)
    assert done.returncode == Exit.SCHEMA
    assert "schema 0002" in complaint(done)
    assert "knows only 0001" in complaint(done)


async def test_a_port_that_is_taken_is_named(tmp_path: Path, dsn: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = run(tmp_path, dsn, CHATD_HTTP__PORT=port)
    assert done.returncode == Exit.CONFIGURATION
    assert f"cannot listen on 127.0.0.1 port {port}" in complaint(done)


async def test_a_database_that_does_not_exist_is_named(tmp_path: Path, empty_dsn: str) -> None:
    done = run(tmp_path, empty_dsn.rsplit("/", 1)[0] + "/nowhere")
    assert done.returncode == Exit.CONFIGURATION
    assert "nowhere" in complaint(done)
