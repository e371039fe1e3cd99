"""Starts of the embedded PostgreSQL that fail, are cancelled or are refused."""

import asyncio
import importlib.util
import os
import threading
import time
from pathlib import Path

import pytest
from support.child_process import child_process
from support.embedded_postgres import AS_ROOT, NO_SYNC, processes_in, wait_until
from support.eventually import TIMEOUT_SECONDS

from chatd.embedded import EmbeddedError, Postgres
from chatd.embedded.cluster import remove_stale_pid_file
from chatd.embedded.locked_directory import try_lock


def test_folder_in_use_is_rejected(traversable_dir: Path) -> None:
    with Postgres(traversable_dir / "data", settings=NO_SYNC):
        started = time.monotonic()
        with (
            pytest.raises(
                EmbeddedError, match=f"process {os.getpid()}.*{traversable_dir / 'data'}"
            ),
            Postgres(traversable_dir / "data", settings=NO_SYNC),
        ):
            pass
        assert time.monotonic() - started < TIMEOUT_SECONDS, "it waited for the other"


def test_stale_pid_file_is_removed(traversable_dir: Path) -> None:
    with Postgres(traversable_dir / "data", settings=NO_SYNC) as server:
        cluster = server.folder / "cluster"
        owner = cluster.stat().st_uid
    with child_process(["sleep", "60"], user=owner if AS_ROOT else None, cwd="/") as sleeper:
        (cluster / "postmaster.pid").write_text(f"{sleeper.pid}\n{cluster}\n")
        with Postgres(traversable_dir / "data", settings=NO_SYNC) as server:
            assert server.pid != sleeper.pid


def test_foreign_server_in_folder_is_rejected(traversable_dir: Path) -> None:
    with child_process(["sleep", "60"], cwd=traversable_dir) as sleeper:
        (traversable_dir / "postmaster.pid").write_text(f"{sleeper.pid}\n{traversable_dir}\n")
        with pytest.raises(EmbeddedError, match=f"process {sleeper.pid}"):
            remove_stale_pid_file(traversable_dir)


def test_failed_start_shows_log(traversable_dir: Path) -> None:
    with (
        pytest.raises(EmbeddedError, match="shared_buffers") as caught,
        Postgres(traversable_dir / "data", settings=NO_SYNC | {"shared_buffers": "plenty"}),
    ):
        pass
    assert str(traversable_dir / "data") in str(caught.value)
    assert not processes_in(traversable_dir)
    lock = try_lock(traversable_dir / "data" / "owner.lock")
    assert lock is not None
    os.close(lock)


async def test_cancelled_start_leaves_no_process(traversable_dir: Path) -> None:
    async def run() -> None:
        async with Postgres(traversable_dir / "data", settings=NO_SYNC):
            pytest.fail("it should not get that far")

    task = asyncio.create_task(run())
    while not (traversable_dir / "data" / "cluster.new").exists():  # noqa: ASYNC110 - nothing notifies of a new folder
        await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    wait_until(lambda: not processes_in(traversable_dir))


def test_start_outside_main_thread_is_rejected() -> None:
    errors: list[str] = []

    def run() -> None:
        try:
            with Postgres():
                pass
        except EmbeddedError as error:
            errors.append(str(error))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert "main thread" in errors[0]


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EmbeddedError, match="chatd with its extra 'embedded'"), Postgres():
        pass


def test_folder_without_programs_is_named(traversable_dir: Path) -> None:
    with (
        pytest.raises(EmbeddedError, match=str(traversable_dir)),
        Postgres(bin_dir=traversable_dir),
    ):
        pass
