"""A PostgreSQL server in one folder, which starts and stops with this process.

    folder/cluster         the data, owned by the account the server runs as, mode 0700
    folder/cluster.new     unfinished initdb; renamed when whole, removed when found
    folder/socket          folder of the Unix socket, mode 0700; a temporary folder if its path
                           does not fit into the 107 bytes of a socket address
    folder/password        for TCP, mode 0600
    folder/postgres.log    of this run; ``postgres.log.1`` is the run before

*Access.* The socket has no password, and only the account of the server (and root) can enter its folder.
TCP is off unless a port is given. Then the server listens on loopback and requires the random password,
because every user of the host can reach loopback. Other services may share the account ``nobody``: create
an account ``postgres`` where that matters.

*Durability.* A persistent folder is fully durable, and when chatd is killed its server ends by a fast
shutdown, which keeps unlogged tables too. A temporary one has fsync off: it survives every crash of
PostgreSQL (``immediate``, ``kill``), but not one of the host. When chatd is killed, its server ends at
once.
"""

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Literal, Self
from urllib.parse import quote

import anyio

from chatd.embedded.binaries import DEFAULT_CACHE_DIR, find_programs
from chatd.embedded.cluster import (
    USER,
    error_with_log,
    initdb,
    is_ready,
    recreate_directory,
    remove_stale_pid_file,
)
from chatd.embedded.locked_directory import LockedDirectory
from chatd.embedded.subprocesses import (
    EmbeddedError,
    Steps,
    run_steps,
    run_steps_async,
    spawn,
    terminating,
)

StopMode = Literal["fast", "immediate", "kill"]

_SOCKET_PATH_BYTES = 107
_SOCKET_PORT = 5432  # part of the socket's name, even while TCP is off
_KILL_TIMEOUT_SECONDS = 15.0  # for the remaining processes of a killed server

_SETTINGS = {
    "max_connections": "100",
    "shared_buffers": "64MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "dynamic_shared_memory_type": "mmap",  # in the data folder, so that a kill leaves nothing in /dev/shm
}
# synchronous_commit stays on: a commit must survive a killed server also in tests.
_TEMPORARY_SETTINGS = {"fsync": "off", "full_page_writes": "off"}


class Postgres:
    """A PostgreSQL server that lives as long as the ``with`` or ``async with`` block.

    For development, tests and benchmarks, which then need no installed database. Enter either form of the
    block in the main thread. Raises ``EmbeddedError``, with the end of the server's log.

    * ``data_dir``: persistent folder. Default: a temporary one, removed at the end.
    * ``bin_dir``: folder of PostgreSQL's programs. Default: those of the extra ``embedded``.
    * ``cache_dir``: folder for root's copy of the programs, which the server's account can read.
    * ``port``: port of loopback to listen on as well, with a password. 0: only the Unix socket.
    * ``settings``: server settings that override the small defaults, such as
      ``{"max_connections": "500"}``.
    * ``start_timeout_seconds``: limit of the start.
    * ``stop_timeout_seconds``: limit of a stop, which then becomes an immediate one, and then a kill.
    """

    def __init__(
        self,
        data_dir: Path | None = None,
        *,
        bin_dir: Path | None = None,
        cache_dir: Path = DEFAULT_CACHE_DIR,
        port: int = 0,
        settings: Mapping[str, str] | None = None,
        start_timeout_seconds: float = 60.0,
        stop_timeout_seconds: float = 15.0,
    ) -> None:
        self._data_dir = data_dir
        self._bin_dir = bin_dir
        self._cache_dir = cache_dir
        self._port = port
        self._settings = (
            _SETTINGS | ({} if data_dir else _TEMPORARY_SETTINGS) | dict(settings or {})
        )
        self._start_timeout_seconds = start_timeout_seconds
        self._stop_timeout_seconds = stop_timeout_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._exit_stack = ExitStack()

    def __enter__(self) -> Self:
        run_steps(self._open())
        return self

    def __exit__(self, *error: object) -> None:
        with self._exit_stack:
            run_steps(self._stop("fast"))

    async def __aenter__(self) -> Self:
        await run_steps_async(self._open())
        return self

    async def __aexit__(self, *error: object) -> None:
        with self._exit_stack, anyio.CancelScope(shield=True):
            await run_steps_async(self._stop("fast"))

    @property
    def folder(self) -> Path:
        """The data folder, with the cluster and its log."""
        return self._directory.path

    @property
    def log(self) -> Path:
        """The log of the current server."""
        return self.folder / "postgres.log"

    @property
    def socket_dir(self) -> Path:
        """The folder of the Unix socket, which psql takes as ``--host``."""
        return self._socket_dir

    @property
    def pid(self) -> int | None:
        """The process id of the postmaster, or None while it is stopped."""
        return self._process.pid if self._process else None

    @property
    def dsn(self) -> str:
        """The address of the database ``postgres``, over the Unix socket."""
        return self.dsn_for("postgres")

    @property
    def tcp_dsn(self) -> str:
        """The same over loopback, with the password. Raises ``EmbeddedError`` without a port."""
        if not self._port:
            raise EmbeddedError("this server has no TCP port: give it one by port=")
        password = (self.folder / "password").read_text()
        return f"postgresql://{USER}:{password}@127.0.0.1:{self._port}/postgres"

    def dsn_for(self, database: str) -> str:
        """Return the address of a database over the Unix socket, for asyncpg, libpq and psql."""
        host = quote(str(self._socket_dir), safe="")
        return f"postgresql://{USER}@{host}:{self._port or _SOCKET_PORT}/{quote(database, safe='')}"

    async def start(self) -> None:
        """Start the server again after ``stop``, with the same address."""
        await run_steps_async(self._start())

    async def stop(self, mode: StopMode = "fast") -> None:
        """Stop the server and keep its folder, so that the database is unavailable.

        ``fast`` ends the sessions and stores everything. ``immediate`` crashes the server like a failing
        host. ``kill`` kills only the postmaster, as the kernel does when memory runs out. Returns when the
        last process has ended.
        """
        await run_steps_async(self._stop(mode))

    async def restart(self, mode: StopMode = "fast") -> None:
        """Stop the server in this mode, then start it."""
        await self.stop(mode)
        await self.start()

    def _open(self) -> Steps[None]:
        with ExitStack() as folders:
            self._programs = find_programs(self._bin_dir, cache_dir=self._cache_dir)
            self._directory = self._lock_directory(self._data_dir, folders)
            self._programs.check_traversable(self.folder)
            self._socket_dir = self._choose_socket_dir(folders)
            if self.log.exists():
                self.log.replace(self.log.with_name("postgres.log.1"))
            yield from self._start()
            self._exit_stack = folders.pop_all()

    def _lock_directory(self, path: Path | None, stack: ExitStack) -> LockedDirectory:
        traversable = self._programs.account is not None
        folder = (
            LockedDirectory.persistent(path, traversable=traversable)
            if path
            else LockedDirectory.temporary(traversable=traversable)
        )
        stack.callback(folder.close)
        return folder

    def _choose_socket_dir(self, stack: ExitStack) -> Path:
        path = self.folder / "socket"
        if len(os.fsencode(path / ".s.PGSQL.65535")) > _SOCKET_PATH_BYTES:
            path = self._lock_directory(None, stack).path / "socket"
        return path

    def _start(self) -> Steps[None]:
        if self._process is not None:
            raise EmbeddedError(f"the server in {self.folder} already runs", folder=self.folder)
        cluster = self.folder / "cluster"
        lock = yield from self._directory.wait_for_server_lock(
            timeout_seconds=_KILL_TIMEOUT_SECONDS
        )
        try:
            if not cluster.exists():
                durable = self._settings.get("fsync") != "off"
                yield from initdb(
                    cluster, programs=self._programs, log=self.log, lock_fd=lock, durable=durable
                )
            recreate_directory(self._socket_dir, self._programs)
            remove_stale_pid_file(cluster)
            process = self._spawn(cluster, lock)
        finally:
            os.close(lock)
        yield from self._wait_until_ready(process, cluster)
        self._process = process

    def _spawn(self, cluster: Path, lock_fd: int) -> subprocess.Popen[bytes]:
        settings = self._settings | {
            "port": str(self._port or _SOCKET_PORT),
            "listen_addresses": "127.0.0.1" if self._port else "",
            "unix_socket_directories": f'"{self._socket_dir}"',
            "unix_socket_permissions": "0700",
        }
        arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return spawn(
            [self._programs.bin_dir / "postgres", "-D", cluster, *arguments],
            folder=self.folder,
            log=self.log,
            death_signal=signal.SIGINT if self._data_dir else signal.SIGQUIT,  # fast, immediate
            lock_fd=lock_fd,
            account=self._programs.account,
            environment=self._programs.environment,
        )

    def _wait_until_ready(self, process: subprocess.Popen[bytes], cluster: Path) -> Steps[None]:
        ready = False
        deadline = time.monotonic() + self._start_timeout_seconds
        try:
            while not (ready := is_ready(cluster, process.pid)):
                if process.poll() is not None:
                    raise error_with_log(cluster, "ended before it was ready", self.log)
                if time.monotonic() > deadline:
                    raise error_with_log(
                        cluster, f"needs over {self._start_timeout_seconds:g} s", self.log
                    )
                yield
        finally:
            if not ready:
                run_steps(terminating(process, (signal.SIGQUIT, 1.0)))

    def _stop(self, mode: StopMode) -> Steps[None]:
        process, self._process = self._process, None
        if process is None:
            return
        fast, immediate = (
            (signal.SIGINT, self._stop_timeout_seconds),
            (signal.SIGQUIT, _KILL_TIMEOUT_SECONDS),
        )
        signals = {"fast": (fast, immediate), "immediate": (immediate,), "kill": ()}
        yield from terminating(process, *signals[mode])
        os.close(
            (yield from self._directory.wait_for_server_lock(timeout_seconds=_KILL_TIMEOUT_SECONDS))
        )
