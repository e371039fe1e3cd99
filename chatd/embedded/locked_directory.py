"""Folders with locks that tell whether a process still uses them.

Each folder has two lock files. Both are flocks, which the kernel drops with the last process that holds
them. So a free lock is proof, and a pid file is not: pids are reused, most of all in containers.

* ``owner.lock`` is held by the chatd that uses the folder. A second chatd fails at once.
* ``server.lock`` is inherited by the server and all its descendants, and chatd itself closes it. While it
  is held, a process of an earlier run is still ending, and the next run waits before it touches the data.

A temporary folder gets its name only after it is locked, so a folder of that name with free locks belongs
to a killed run, and ``remove_stale`` removes it. Folders of other accounts are left alone.
"""

import fcntl
import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from chatd.embedded.subprocesses import EmbeddedError, Steps

_UNFINISHED_PREFIX = "chatd-unfinished-"
_TEMPORARY_PREFIX = "chatd-embedded-"


def try_lock(path: Path) -> int | None:
    """Lock a file, created if missing. Return the descriptor, or None if another process holds the lock."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


class LockedDirectory:
    """A folder that only this process uses, until ``close``."""

    def __init__(self, path: Path, *, owner_lock: int, is_temporary: bool) -> None:
        self.path = path
        self.is_temporary = is_temporary
        self._owner_lock = owner_lock

    @classmethod
    def persistent(cls, path: Path, *, traversable: bool = False) -> "LockedDirectory":
        """Lock a folder that stays after ``close``, created if missing.

        ``traversable`` lets other accounts reach files of theirs inside, but not list the folder. An
        existing folder keeps its mode. Raises ``EmbeddedError`` if the folder is in use.
        """
        path = path.expanduser().resolve()
        try:
            if not path.exists():
                path.mkdir(parents=True)
                path.chmod(0o711 if traversable else 0o700)
            lock = try_lock(path / "owner.lock")
            if lock is None:
                holder = (path / "owner.lock").read_text() or "unknown"
                raise EmbeddedError(
                    f"another chatd (process {holder}) already uses {path}", folder=path
                )
            os.ftruncate(lock, 0)
            os.pwrite(lock, str(os.getpid()).encode(), 0)
        except OSError as error:
            raise EmbeddedError(f"cannot use the folder {path}: {error}", folder=path) from error
        return cls(path, owner_lock=lock, is_temporary=False)

    @classmethod
    def temporary(cls, *, traversable: bool = False) -> "LockedDirectory":
        """Create a folder that ``close`` removes, or a later run if this process is killed."""
        remove_stale()
        unfinished = Path(tempfile.mkdtemp(prefix=_UNFINISHED_PREFIX)).resolve()
        lock = try_lock(unfinished / "owner.lock")
        if lock is None:
            raise EmbeddedError(f"another process locked {unfinished}", folder=unfinished)
        unfinished.chmod(0o711 if traversable else 0o700)
        path = unfinished.with_name(unfinished.name.replace(_UNFINISHED_PREFIX, _TEMPORARY_PREFIX))
        unfinished.rename(path)
        return cls(path, owner_lock=lock, is_temporary=True)

    def wait_for_server_lock(self, *, timeout_seconds: float) -> Steps[int]:
        """Wait until no process of an earlier server runs. Return the lock for the next one."""
        deadline = time.monotonic() + timeout_seconds
        while (lock := try_lock(self.path / "server.lock")) is None:
            if time.monotonic() > deadline:
                raise EmbeddedError(
                    f"a server of an earlier run is still ending in {self.path}", folder=self.path
                )
            yield
        return lock

    def close(self) -> None:
        """Unlock the folder, and remove it if it is temporary."""
        if self.is_temporary:
            shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._owner_lock)


def remove_stale() -> None:
    """Remove the temporary folders of runs that were killed."""
    for path in Path(tempfile.gettempdir()).glob(f"{_TEMPORARY_PREFIX}*"):
        with suppress(OSError):
            if path.lstat().st_uid == os.geteuid():
                _remove_if_free(path)


def _remove_if_free(path: Path) -> None:
    owner = try_lock(path / "owner.lock")
    server = try_lock(path / "server.lock") if owner is not None else None
    if server is not None:
        shutil.rmtree(path, ignore_errors=True)
    for lock in (owner, server):
        if lock is not None:
            os.close(lock)
