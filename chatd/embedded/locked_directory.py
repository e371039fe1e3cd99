"""Folders that know whether anybody still uses them.

Each folder has two lock files. Both are flocks, which the kernel drops with the last process that
holds them, so a free lock is proof and a pid file is not (pids are reused, first of all in
containers):

* ``owner.lock`` is held by the chatd that uses the folder. A second chatd is refused at once.
* ``server.lock`` is inherited by the server and all its descendants, and not kept by chatd. While
  it is held, some process of an earlier run is still ending. The next run waits for it before it
  touches the data.

A temporary folder appears under its name only after it is locked, so a folder of that name with
free locks belongs to a killed run: ``remove_stale`` removes it. Only folders of our own account are
touched.
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
    """Lock a file, made if missing; the descriptor is the lock. None: somebody else holds it."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


class LockedDirectory:
    """A folder that only we use, until ``close``."""

    def __init__(self, path: Path, *, owner_lock: int, is_temporary: bool) -> None:
        self.path = path
        self.is_temporary = is_temporary
        self._owner_lock = owner_lock

    @classmethod
    def persistent(cls, path: Path, *, traversable: bool = False) -> "LockedDirectory":
        """Use a folder that outlives us, made if missing; ``EmbeddedError`` if it is in use.

        ``traversable`` lets other accounts through to what is inside and owned by them, without
        letting them look around. A folder that exists keeps its mode.
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
        """Make a folder that is removed by ``close``, or by a later run if we are killed before."""
        remove_stale()
        unfinished = Path(tempfile.mkdtemp(prefix=_UNFINISHED_PREFIX)).resolve()
        lock = try_lock(unfinished / "owner.lock")
        if lock is None:
            raise EmbeddedError(f"somebody else locked {unfinished}", folder=unfinished)
        unfinished.chmod(0o711 if traversable else 0o700)
        path = unfinished.with_name(unfinished.name.replace(_UNFINISHED_PREFIX, _TEMPORARY_PREFIX))
        unfinished.rename(path)
        return cls(path, owner_lock=lock, is_temporary=True)

    def wait_for_server_lock(self, *, timeout_seconds: float) -> Steps[int]:
        """Wait until no process of an earlier server is left; return the lock for the next."""
        deadline = time.monotonic() + timeout_seconds
        while (lock := try_lock(self.path / "server.lock")) is None:
            if time.monotonic() > deadline:
                raise EmbeddedError(
                    f"a server of an earlier run is still ending in {self.path}", folder=self.path
                )
            yield
        return lock

    def close(self) -> None:
        """Let go of the folder, and remove it if it is temporary."""
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
