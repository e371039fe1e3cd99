"""Nothing of the console is imported where it is off."""

import subprocess
import sys

SCRIPT = """
import sys
import chatd.daemon
names = {"chatd.console", "jinja2", "markdown_it", "nh3"}
print(sorted(names & sys.modules.keys()))
"""


def test_daemon_without_a_console_imports_nothing_of_it() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stdout.strip() == "[]"
