"""The embedded PostgreSQL as root and as other accounts."""

import os
import pwd
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from support.embedded_postgres import (
    AS_ROOT,
    CLEAN_ENVIRONMENT,
    PACKAGES,
    first_line,
    processes_in,
    running_postgres,
)
from support.eventually import TIMEOUT_SECONDS

from chatd.embedded import EmbeddedError, Postgres, binaries

only_root = pytest.mark.skipif(not AS_ROOT, reason="needs root, to become another account")


@only_root
def test_socket_is_closed_to_other_accounts() -> None:
    connect = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    python = python_of(pwd.getpwnam("nobody"))
    with Postgres() as server:
        path = server.socket_dir / ".s.PGSQL.5432"
        if server.socket_dir.stat().st_uid == pwd.getpwnam("nobody").pw_uid:
            pytest.skip("the server itself runs as nobody here")
        answer = subprocess.run(
            [python, "-c", connect, path],
            user="nobody",
            capture_output=True,
            text=True,
            cwd="/",
            check=False,
            timeout=TIMEOUT_SECONDS,
        )
    assert "PermissionError" in answer.stderr


@only_root
def test_untraversable_folder_is_named_and_unchanged(traversable_dir: Path) -> None:
    closed = traversable_dir / "closed"
    closed.mkdir(mode=0o700)
    with (
        pytest.raises(EmbeddedError, match=f"cannot pass {closed}:"),
        Postgres(closed / "data"),
    ):
        pass
    assert closed.stat().st_mode & 0o777 == 0o700


@only_root
def test_private_copy_is_made_once(traversable_dir: Path) -> None:
    cache = traversable_dir / "cache"
    first = binaries.private_bin_dir(cache)
    root = next(cache.glob("embedded-postgres-*"))
    changed_at = root.stat().st_ctime_ns
    assert binaries.private_bin_dir(cache) == first
    assert root.stat().st_ctime_ns == changed_at
    assert all(path.stat().st_mode & 0o022 == 0 for path in root.rglob("*"))

    root.rename(root.with_name(f"{root.name}.unfinished"))  # as a copy that was killed leaves it
    (root.with_name(f"{root.name}.unfinished") / "rubbish").touch()
    assert binaries.private_bin_dir(cache) == first
    assert not (root / "rubbish").exists()


def python_of(account: pwd.struct_passwd, *, program: str = "pass") -> Path:
    """Return a Python that can run ``program`` as this account. The current one may be closed to it."""
    for python in (Path(sys.executable).resolve(), Path("/usr/bin/python3")):
        with suppress(PermissionError, FileNotFoundError):
            trial = subprocess.run(
                [python, "-c", f"import sys; assert sys.version_info >= (3, 11); {program}"],
                user=account.pw_uid,
                group=account.pw_gid,
                extra_groups=[],
                env=CLEAN_ENVIRONMENT,
                cwd="/",
                capture_output=True,
                check=False,
                timeout=TIMEOUT_SECONDS,
            )
            if trial.returncode == 0:
                return python
    pytest.skip(f"the account {account.pw_name} may run no Python, or not read {PACKAGES[0]}")


@only_root
def test_ordinary_account_needs_no_copy(traversable_dir: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    os.chown(traversable_dir, nobody.pw_uid, nobody.pw_gid)
    python = python_of(nobody, program="import chatd.embedded")
    with running_postgres(traversable_dir / "data", python=python, account=nobody) as parent:
        process = Path("/proc") / first_line(parent)[0]
        assert (process / "exe").readlink().parent == binaries.packaged_bin_dir().resolve()
        assert process.stat().st_uid == nobody.pw_uid
        parent.terminate()
        assert parent.wait(TIMEOUT_SECONDS) == 0
        assert not processes_in(traversable_dir)
