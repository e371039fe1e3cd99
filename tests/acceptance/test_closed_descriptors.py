"""``chatd run`` without standard input, output or error, as some service managers start it."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from support.child_process import child_process
from support.eventually import eventually

from chatd.cli.exit_codes import Exit

MODEL = '[providers.fake]\nkind = "scripted"\n[models.fake]\nprovider = "fake"\nmodel = "m"\n'
CLOSED = {"input": "<&-", "output": ">&-", "error": "2>&-", "all": "<&- >&- 2>&-"}


def free_port() -> int:
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port: int = chosen.getsockname()[1]
        return port


def is_live(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/livez", timeout=5) as response:
            return bool(response.status == 200)
    except urllib.error.URLError:
        return False


def descriptor_file(pid: int, fd: int) -> str:
    return str(Path(f"/proc/{pid}/fd/{fd}").readlink())


def command(arguments: str, closed: str) -> list[str]:
    """Return the command with standard descriptors closed, by a shell that it replaces."""
    return ["/bin/sh", "-c", f'exec "$0" -m chatd {arguments} {closed}', sys.executable]


@pytest.mark.parametrize("closed", CLOSED.values(), ids=[*CLOSED])
async def test_daemon_runs_and_ends_in_order(closed: str, tmp_path: Path, dsn: str) -> None:
    config, port = tmp_path / "c.toml", free_port()
    config.write_text(MODEL)
    clean = {k: v for k, v in os.environ.items() if not k.startswith("CHATD_")}
    environment = clean | {"CHATD_DATABASE__URL": dsn, "CHATD_HTTP__PORT": str(port)}
    arguments = command(f"run --config {config}", closed)
    pipe = subprocess.PIPE
    with child_process(arguments, env=environment, stdout=pipe, stderr=pipe) as process:
        await eventually(lambda: is_live(port) or process.poll() is not None, 60)
        open_files = {fd: descriptor_file(process.pid, fd) for fd in range(3)}
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
        assert process.returncode == Exit.DONE, err
    for fd, redirection in enumerate(("<&-", ">&-", "2>&-")):
        assert (open_files[fd] == os.devnull) or redirection not in closed.split()
    events = [json.loads(line)["event"] for line in err.splitlines()]
    assert ("daemon.stopped" in events) is ("2>&-" not in closed)


@pytest.mark.parametrize("closed", CLOSED.values(), ids=[*CLOSED])
def test_a_mistake_still_has_its_exit_code(closed: str, tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text("[http]\nport = 'x'\n")
    for arguments in ("config check", "run"):
        ended = subprocess.run(
            command(f"{arguments} --config {config}", closed),
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == Exit.CONFIGURATION
        assert (b"chatd: http.port" in ended.stderr) is ("2>&-" not in closed.split())
        assert config.read_text() == "[http]\nport = 'x'\n"
