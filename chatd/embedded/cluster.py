"""PostgreSQL's data on disk: creation of a cluster, and its pid file.

A cluster is created under another name and renamed when it is whole, so a crash in the middle leaves only a
folder of a known name. The pid file says when the server accepts connections (line 8), which no signal or
exit code does.

After a kill the pid file names a dead process. PostgreSQL detects that itself, except when another process
has the pid by now, which is likely in containers, where pids are few. ``server.lock`` excludes processes of
earlier runs, and the working folder of the named process tells whether it is a server of this cluster.
"""

import os
import secrets
import shutil
import signal
from pathlib import Path

from chatd.embedded.binaries import Programs
from chatd.embedded.subprocesses import (
    EmbeddedError,
    Steps,
    last_lines,
    run_steps,
    spawn,
    terminating,
)

USER = "chatd"
_BUILTIN_LOCALE_SINCE = 17
_STATUS_LINE = 8


def initdb(
    cluster: Path, *, programs: Programs, log: Path, lock_fd: int, durable: bool
) -> Steps[None]:
    """Create a cluster, and a file with its password beside it.

    Raises ``EmbeddedError``, with the end of the log.
    """
    unfinished = cluster.with_name("cluster.new")
    recreate_directory(unfinished, programs)
    process = spawn(
        [
            programs.bin_dir / "initdb",
            f"--pgdata={unfinished}",
            *_initdb_arguments(cluster, programs, durable=durable),
        ],
        folder=cluster.parent,
        log=log,
        death_signal=signal.SIGKILL,
        lock_fd=lock_fd,
        account=programs.account,
        environment=programs.environment,
    )
    try:
        while process.poll() is None:
            yield
    finally:
        run_steps(terminating(process))
    if process.returncode:
        raise error_with_log(cluster, "could not create its data folder", log)
    unfinished.rename(cluster)
    _fsync_directory(cluster.parent)


def _initdb_arguments(cluster: Path, programs: Programs, *, durable: bool) -> list[str]:
    builtin = programs.major_version >= _BUILTIN_LOCALE_SINCE
    locale = ["--locale-provider=builtin", "--locale=C.UTF-8"] if builtin else ["--locale=C"]
    return [
        f"--username={USER}",
        f"--pwfile={_create_password_file(cluster, programs)}",
        "--auth-local=trust",
        "--auth-host=scram-sha-256",
        "--encoding=UTF8",
        *locale,
        *([] if durable else ["--no-sync"]),
    ]


def _create_password_file(cluster: Path, programs: Programs) -> Path:
    password = cluster.with_name("password")
    password.unlink(missing_ok=True)
    password.touch(mode=0o600, exist_ok=False)
    password.write_text(secrets.token_urlsafe(24))
    programs.chown(password)
    return password


def recreate_directory(path: Path, programs: Programs) -> None:
    """Replace the folder by an empty one that only the server's account can use."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(mode=0o700)
    programs.chown(path)


def is_ready(cluster: Path, pid: int) -> bool:
    """Return whether this postmaster accepts connections."""
    lines = _read_pid_file(cluster)
    return (
        len(lines) >= _STATUS_LINE
        and lines[0] == str(pid)
        and lines[_STATUS_LINE - 1].strip() == "ready"
    )


def remove_stale_pid_file(cluster: Path) -> None:
    """Remove the pid file unless its process is a server of this cluster. Raises ``EmbeddedError`` then."""
    pid = next(iter(_read_pid_file(cluster)), "")
    try:
        working_dir = Path(f"/proc/{pid}/cwd").resolve(strict=True) if pid else None
    except OSError:
        return  # no such process, or of another account: PostgreSQL handles both
    if working_dir == cluster:
        raise EmbeddedError(
            f"a PostgreSQL started by another program (process {pid}) runs in {cluster}",
            folder=cluster,
        )
    (cluster / "postmaster.pid").unlink(missing_ok=True)


def _read_pid_file(cluster: Path) -> list[str]:
    try:
        return (cluster / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return []


def _fsync_directory(folder: Path) -> None:
    """Make a rename in this folder survive a failure of the host."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def error_with_log(cluster: Path, problem: str, log: Path) -> EmbeddedError:
    """Return an error that names the folder and shows the end of the log."""
    return EmbeddedError(
        f"PostgreSQL in {cluster.parent} {problem}. Its log ends ({log}):\n{last_lines(log)}",
        folder=cluster.parent,
    )
