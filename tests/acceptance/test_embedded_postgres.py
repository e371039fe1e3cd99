"""The embedded PostgreSQL with real processes: its durability, its access rules and its cleanup."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from support.embedded_postgres import (
    NO_SYNC,
    first_line,
    processes_in,
    running_postgres,
    wait_until,
)
from support.eventually import TIMEOUT_SECONDS

from chatd.embedded import Postgres, StopMode

SYSTEM = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


def entries_of(folder: Path) -> set[Path]:
    return set(folder.iterdir())


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close(timeout=TIMEOUT_SECONDS)


@pytest.mark.parametrize("bin_dir", [None, *SYSTEM], ids=str)
async def test_persistent_folder_keeps_data(traversable_dir: Path, bin_dir: Path | None) -> None:
    async with Postgres(traversable_dir / "data", bin_dir=bin_dir, settings=NO_SYNC) as server:
        async with connected(server.dsn) as connection:
            await connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        assert processes_in(traversable_dir)
    assert not processes_in(traversable_dir)
    async with Postgres(traversable_dir / "data", bin_dir=bin_dir, settings=NO_SYNC) as server:
        async with connected(server.dsn) as connection:
            assert await connection.fetchval("SELECT answer FROM kept") == 42
        assert server.folder / "postgres.log.1" in entries_of(server.folder)


async def test_persistent_folder_is_durable(traversable_dir: Path) -> None:
    async with Postgres(traversable_dir / "data") as server, connected(server.dsn) as connection:
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
async def test_killed_parent_leaves_no_process(traversable_dir: Path, kept: bool) -> None:
    with running_postgres(traversable_dir / "data" if kept else None) as parent:
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
        traversable_dir / "data" if kept else None, settings=NO_SYNC
    ) as server:  # and the next one starts
        assert (folder in entries_of(folder.parent)) is kept, (
            "the next run removes a temporary folder"
        )
        assert (server.folder == folder) is kept


def test_killed_initdb_is_repeated(traversable_dir: Path) -> None:
    data = traversable_dir / "data"
    with running_postgres(data):
        wait_until((data / "cluster.new" / "base").exists)
    assert not (data / "cluster").exists()

    with Postgres(data, settings=NO_SYNC) as server:
        assert server.pid in processes_in(data)
    assert not (data / "cluster.new").exists()


async def test_socket_of_long_path_moves_to_temporary_folder(traversable_dir: Path) -> None:
    data = traversable_dir / ("long" * 25) / "data"
    async with Postgres(data, settings=NO_SYNC) as server:
        assert not server.socket_dir.is_relative_to(data)
        async with connected(server.dsn) as connection:
            assert await connection.fetchval("SELECT 1") == 1
    assert server.socket_dir.parent not in entries_of(server.socket_dir.parents[1])


async def test_loopback_requires_password(traversable_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    async with Postgres(traversable_dir / "data", port=port, settings=NO_SYNC) as server:
        async with connected(server.tcp_dsn) as connection:
            assert await connection.fetchval("SELECT 1") == 1
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(server.tcp_dsn, password="guess")
        assert (server.folder / "password").stat().st_mode & 0o777 == 0o600
