"""An uncaught exception becomes one event of the log, without its message."""

import subprocess
import sys
from pathlib import Path

from pydantic_core import from_json
from support.log_event_coverage import record_event

from chatd.cli.exit_codes import Exit

BROKEN = """
import sys, threading
from chatd.__main__ import main
from chatd.daemon import Daemon

class Finalized:
    def __del__(self):
        raise ValueError(" ".join(["what", "somebody", "said"]))

def in_a_thread():
    raise ValueError(" ".join(["what", "somebody", "said"]))

async def broken(_):
    thread = threading.Thread(target=in_a_thread, name="errand")
    thread.start()
    thread.join()
    Finalized()
    raise ValueError(" ".join(["what", "somebody", "said"]))

Daemon.run = broken
sys.exit(main())
"""

MODEL = """
[providers.fake]
kind = "scripted"
[models.fake]
provider = "fake"
model = "fake-1"
"""


def test_uncaught_exception_is_one_event_without_message(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(MODEL)
    ended = subprocess.run(
        [sys.executable, "-c", BROKEN, "run", "--config", str(config)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == Exit.FAILED, ended.stderr
    lines = [from_json(line) for line in ended.stderr.splitlines()]
    told = [line for line in lines if line["event"] == "process.uncaught"]
    record_event("process.uncaught")
    assert [line["where"] for line in told] == ["errand", "Finalized.__del__", "program"]
    assert [line["exception"]["type"] for line in told] == ["ValueError"] * 3
    assert "in broken" in told[-1]["exception"]["traceback"]
    assert "somebody said" not in ended.stderr
