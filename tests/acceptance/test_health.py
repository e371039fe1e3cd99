"""``chatd health``, the health check of a container, for a running process and for a missing one."""

import json
import signal
from pathlib import Path

import pytest
from support.commands import CommandResult, run_in_environment
from support.eventually import eventually
from support.processes import chatd_process

from chatd.cli.exit_codes import Exit


def health(*arguments: str, **environment: str) -> CommandResult:
    return run_in_environment("health", *arguments, environment=environment)


async def test_health_command_reports_readyz(tmp_path: Path, dsn: str) -> None:
    settings = "[http]\ndrain_seconds = 60\n"
    with chatd_process(tmp_path, dsn, settings=settings) as chatd:
        await chatd.wait_until_ready()
        completed = health("--url", chatd.url)
        assert (completed.exit_code, completed.stdout) == (Exit.DONE, "ready\n")
        assert json.loads(health("--url", chatd.url, "--json").stdout) == {
            "ready": True,
            "reason": None,
        }
        port = chatd.url.rpartition(":")[2]
        # By its configuration, where it may listen everywhere.
        completed = health(
            CHATD_CONFIG=str(chatd.config),
            CHATD_HTTP__PORT=port,
            CHATD_HTTP__HOST="0.0.0.0",
            CHATD_AUTH__MODE="token",
        )
        assert (completed.exit_code, completed.stdout) == (Exit.DONE, "ready\n")
        chatd.send_signal(signal.SIGTERM)
        await chatd.wait_for_log("daemon.stopping")
        await eventually(lambda: health("--url", chatd.url).exit_code == Exit.FAILED)
        assert health("--url", chatd.url).stderr == "chatd: Not ready: stopping.\n"
        chatd.send_signal(signal.SIGTERM)
        assert await chatd.wait_for_exit() == 0
        completed = health("--url", chatd.url)
        assert completed.exit_code == Exit.FAILED
        assert "does not respond" in completed.stderr
        completed = health("--url", chatd.url, "--json")
        assert completed.exit_code == Exit.FAILED
        assert "does not respond" in json.loads(completed.stdout)["reason"]


@pytest.mark.parametrize("url", ["https://127.0.0.1:1", "127.0.0.1:1", "http://"])
def test_invalid_url_is_reported(url: str) -> None:
    completed = health("--url", url)
    assert completed.exit_code == Exit.USAGE
    assert "http://HOST:PORT" in completed.stderr
