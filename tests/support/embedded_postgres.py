"""Processes that run an embedded PostgreSQL, and the processes of its server."""

import os
import pwd
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import chatd
from support.child_process import child_process
from support.eventually import TIMEOUT_SECONDS

NO_SYNC = {"fsync": "off"}
"""Settings of servers whose host does not crash."""

DEBIAN_BUILDS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
"""Folders of PostgreSQL's programs from Debian, with TLS and ICU. The embedded ones have neither."""

AS_ROOT = os.geteuid() == 0

RUN_POSTGRES = """
import signal, sys
from pathlib import Path
from chatd.embedded import Postgres
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
data = Path(sys.argv[1]) if sys.argv[1] else None
with Postgres(data, settings={"fsync": "off"}) as server:
    print(server.pid, server.folder, server.dsn, flush=True)
    signal.sigwait({signal.SIGTERM})
"""


def wait_until(fact: Callable[[], object], *, seconds: float = TIMEOUT_SECONDS) -> None:
    """Wait until ``fact`` holds."""
    deadline = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.005)


def processes_in(folder: Path) -> set[int]:
    """Return the processes whose working folder is inside ``folder``, as PostgreSQL's are."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink().is_relative_to(folder):
                found.add(int(process.name))
        except OSError:
            continue
    return found


PACKAGES = [str(Path(chatd.__file__).parents[1]), *(p for p in sys.path if "site-packages" in p)]

CLEAN_ENVIRONMENT = {
    "PATH": os.defpath,
    "PYTHONPATH": os.pathsep.join(PACKAGES),
    "TMPDIR": tempfile.gettempdir(),
}


def running_postgres(
    data: Path | None, *, python: Path | None = None, account: pwd.struct_passwd | None = None
) -> AbstractContextManager[subprocess.Popen[str]]:
    """Start another process that runs an embedded PostgreSQL until TERM."""
    return child_process(
        [python or sys.executable, "-c", RUN_POSTGRES, data or ""],
        stdout=subprocess.PIPE,
        text=True,
        env=CLEAN_ENVIRONMENT,
        cwd="/",
        user=account.pw_uid if account else None,
        group=account.pw_gid if account else None,
        extra_groups=[] if account else None,
    )


def first_line(process: subprocess.Popen[str]) -> list[str]:
    """Return the words of the first line that the process prints."""
    assert process.stdout is not None
    with process.stdout:
        return process.stdout.readline().split()
