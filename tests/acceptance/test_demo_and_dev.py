"""``chatd demo`` and ``chatd dev``, with the embedded database and the local model."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from support.child_process import child_process
from support.eventually import TIMEOUT_SECONDS, eventually

from chatd.cli.dev_model import LOCAL_MAX_OUTPUT_TOKENS
from chatd.embedded import local_model_available


def environment() -> dict[str, str]:
    secret = ("CHATD_", "OPENAI_", "ANTHROPIC_")
    return {k: v for k, v in os.environ.items() if not k.startswith(secret)}


def descendants_in(folder: Path) -> list[int]:
    """Return the processes whose working folder is ``folder``, as that of an embedded PostgreSQL is."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink().is_relative_to(folder):
                found.append(int(process.name))
        except OSError:
            continue
    return found


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command and require exit code 0."""
    completed = subprocess.run(
        [sys.executable, "-m", "chatd", "demo", *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr
    return completed


@pytest.mark.skipif(not local_model_available(), reason="the extra 'local' is not installed")
def test_demo_prints_the_stored_chat() -> None:
    completed = demo("Say hello.")
    answer = completed.stdout.strip()
    assert answer
    assert f"assistant: {answer!r}" in completed.stderr
    assert "a real but tiny model" in completed.stderr
    assert "create (pending) -> claim (running) -> finish_turn (waiting)" in completed.stderr


def test_demo_json_prints_only_the_stored_chat() -> None:
    completed = demo("--json", "Count from one to a thousand.")
    stored = json.loads(completed.stdout)
    assert stored["chat"]["status"] == "waiting"
    assert [message["role"] for message in stored["messages"]] == ["user", "assistant"]
    assert f"stored: chat {stored['chat']['id']}" in completed.stderr
    assert 0 < stored["chat"]["usage"]["output_tokens"] <= LOCAL_MAX_OUTPUT_TOKENS


@contextmanager
def running_dev(data: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``chatd dev``."""
    command = [sys.executable, "-m", "chatd", "dev", "--data", str(data), "--port", "0"]
    with (
        log.open("w") as output,
        child_process(command, env=environment(), stdout=output, stderr=output) as process,
    ):
        yield process


async def url_of(process: subprocess.Popen[bytes], log: Path) -> str:
    def ready() -> str | None:
        for line in log.read_text().splitlines():
            if line.startswith("ready: "):
                return f"{line.removeprefix('ready: ')}/api/v1"
        assert process.poll() is None, log.read_text()
        return None

    return str(await eventually(ready, 60))


async def test_dev_keeps_chats_and_leaves_no_process(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    # As root, the database's account must be able to reach the folder.
    base = Path("/tmp") if os.geteuid() == 0 else tmp_path_factory.mktemp("dev")
    data = base / f"chatd-dev-{os.getpid()}"
    log = tmp_path_factory.mktemp("logs") / "dev.log"
    try:
        with running_dev(data, log) as first:
            url = await url_of(first, log)
            async with httpx2.AsyncClient() as http:
                made = await http.post(f"{url}/chats", json={"title": "kept"})
                assert made.status_code == 201, made.text
        # It was killed at the end of the block.
        await eventually(lambda: not descendants_in(data))

        with running_dev(data, log) as second:
            url = await url_of(second, log)
            async with httpx2.AsyncClient() as http:
                listed = (await http.get(f"{url}/chats")).json()["items"]
            assert [chat["title"] for chat in listed] == ["kept"]
            second.send_signal(signal.SIGTERM)
            assert second.wait(TIMEOUT_SECONDS) == 0
        assert descendants_in(data) == []
    finally:
        shutil.rmtree(data, ignore_errors=True)
