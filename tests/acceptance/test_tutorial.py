"""The tutorial's commands, run as they are printed, but for the installation."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.child_process import child_process
from support.commands import clean_environment
from support.eventually import eventually
from support.pty import terminal

PAGE = (Path(__file__).parents[2] / "docs" / "tutorials" / "mcp-server.md").read_text()
INSTALLATION = [
    "python3 -m venv .venv",
    "source .venv/bin/activate",
    "pip install '.[embedded,mcp]' mcp-server-time",
    "source .venv/bin/activate",
]


def commands() -> list[str]:
    """Return the commands of the page, in their order."""
    blocks = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def environment(**more: str) -> dict[str, str]:
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return clean_environment() | {"PATH": programs, "TERM": "xterm"} | more


@contextmanager
def folder() -> Iterator[Path]:
    """Yield a folder for the files of the page and the database, which may not belong to root."""
    base = Path(os.environ.get("TMPDIR", "/tmp"))
    path = base / f"chatd-tutorial-{os.getpid()}"
    path.mkdir(mode=0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def run(command: str, cwd: Path, url: str) -> str:
    """Run a command of the page in a shell, and return what it prints on either output."""
    ran = subprocess.run(
        ["bash", "-c", command],
        cwd=cwd,
        env=environment(CHATD_URL=url),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
    return ran.stdout


@pytest.mark.slow
async def test_tutorial_ends_with_an_answer_of_the_mcp_server() -> None:
    printed = commands()
    assert [command for command in printed if command in INSTALLATION] == INSTALLATION
    dev, chat, piped, cat, ps, show = [each for each in printed if each not in INSTALLATION]
    [config] = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    with folder() as cwd:
        (cwd / "clock.toml").write_text(config)
        log = cwd / "dev.log"
        isolated = f"exec {dev} --port 0 --data {cwd / 'data'}"
        with (
            log.open("w") as output,
            child_process(
                ["bash", "-c", isolated],
                cwd=cwd,
                env=environment(),
                stdout=output,
                stderr=output,
            ) as process,
        ):
            url = str(await eventually(lambda: ready_url(log.read_text(), process.poll()), 60))
            assert "model: clock of clock.toml" in log.read_text()
            with terminal(url, *chat.split()[1:]) as screen:
                await screen.wait_for_text("new chat | ")
                screen.type_keys("What time is it in Tokyo?\r")
                await screen.wait_for_text("* time__get_current_time  timezone: Asia/Tokyo")
                await screen.wait_for_text('  { "timezone": "Asia/Tokyo", "datetime": "20')
                await screen.wait_for_text("The clock says: {")
                screen.type_keys("/quit\r")
                assert await screen.wait_for_exit() == 0
            assert re.search(r"mcp\.ready.*time.*2", log.read_text())
            assert run(piped, cwd, url).startswith(
                'time__get_current_time  timezone: Asia/Tokyo\n  { "timezone": "Asia/Tokyo", '
            )
            assert run(cat, cwd, url).startswith("The clock says: {")
            header, row, *_ = run(ps, cwd, url).splitlines()
            assert header.split() == ["CHAT", "STATUS", "UPDATED", "QUEUE", "MODEL", "TITLE"]
            shown = run(show.replace("5bd0a6e5", row.split()[0]), cwd, url)
            assert '-> time__get_current_time {"timezone": "Asia/Tokyo"}' in shown
            assert "   closed, by the server, idempotent, 1 try, " in shown
            assert '<- time__get_current_time\n   {\n     "timezone": "Asia/Tokyo",' in shown


def ready_url(log: str, exit_code: int | None) -> str | None:
    assert exit_code is None, log
    found = re.search(r"^ready: (\S+)$", log, re.MULTILINE)
    return found[1] if found else None
