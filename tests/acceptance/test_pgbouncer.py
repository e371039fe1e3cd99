"""Behind a transaction pooler: a real PgBouncer, if one is installed that supports prepared statements.

``CHATD_TEST_PGBOUNCER`` is the command that starts it, if not ``pgbouncer``. ``CHATD_TEST_POOLER_SECONDS``
is how long three processes work behind it without a direct URL.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import create_connection, socket
from urllib.parse import urlsplit

import pytest
from support.child_process import child_process
from support.database_inspector import DatabaseInspector, inspect_database
from support.databases import database_on_server
from support.eventually import TIMEOUT_SECONDS
from support.processes import HANGING_SCRIPTS, ChatdProcess, chatd_process, replicas
from support.sse_client import ApiClient, ChatView, client, clients

from chatd.cli.exit_codes import Exit

PGBOUNCER = shlex.split(os.environ.get("CHATD_TEST_PGBOUNCER", "pgbouncer"))
OLDEST = (1, 21)

SETTINGS = """
[worker]
heartbeat_seconds = 0.5
lease_seconds = 2
poll_seconds = 60
[database]
direct_url = "{direct}"
"""
"""Poll interval that is longer than the test waits: only a notification arrives in time."""

SET_UP_FOR_IT = """
max_prepared_statements = 200
ignore_startup_parameters = jit
"""
NO_WORKER = {"CHATD_WORKER__ENABLED": "false"}
POOLED = """
[worker]
heartbeat_seconds = 0.5
lease_seconds = 4
poll_seconds = 0.5
[turn]
stream_idle_timeout_seconds = 3600
model_call_timeout_seconds = 3600
timeout_seconds = 7200
"""
"""Turns may last for longer than the test."""
LEASE_SECONDS = 4
POOLER_SECONDS = float(os.environ.get("CHATD_TEST_POOLER_SECONDS", "5"))


def version() -> tuple[int, ...]:
    if shutil.which(PGBOUNCER[0]) is None:
        return ()
    told = subprocess.run(
        [*PGBOUNCER, "--version"],
        capture_output=True,
        text=True,
        check=True,
        timeout=TIMEOUT_SECONDS,
    )
    found = re.search(r"PgBouncer (\d+)\.(\d+)", told.stdout)
    return tuple(map(int, found.groups())) if found else ()


needs_pgbouncer = pytest.mark.skipif(
    version() < OLDEST, reason=f"there is no PgBouncer {'.'.join(map(str, OLDEST))} or newer here"
)


@contextmanager
def running_pgbouncer(dsn: str, more: str = "") -> Iterator[str]:
    """Start a PgBouncer with two sessions in all. Yield the DSN of the same database behind it."""
    place = urlsplit(dsn)
    with socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        ini = Path(folder, "pgbouncer.ini")
        ini.write_text(
            f"""
[databases]
* = host={place.hostname} port={place.port} user={place.username} password={place.password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 2
{more}
"""
        )
        Path(folder).chmod(0o755)  # it gives up root before it reads this again
        account = ["-u", "nobody"] if os.geteuid() == 0 else []
        with child_process([*PGBOUNCER, "-q", *account, str(ini)]):
            _wait_until_listening(port)
            yield place._replace(netloc=f"{place.username}@127.0.0.1:{port}").geturl()


def _wait_until_listening(port: int) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        try:
            create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.01)
            continue
        return
    raise AssertionError("PgBouncer does not listen")


@needs_pgbouncer
async def test_processes_behind_pgbouncer_notify_and_take_over(
    tmp_path: Path, tcp_server: str
) -> None:
    async with database_on_server(tcp_server) as direct:
        with running_pgbouncer(direct, SET_UP_FOR_IT) as dsn:
            settings = SETTINGS.format(direct=direct)
            async with replicas(tmp_path, dsn, "a", "b", settings=settings) as workers:
                with chatd_process(
                    tmp_path, dsn, name="door", settings=settings, environment=NO_WORKER
                ) as door:
                    await door.wait_until_ready()
                    async with client(door) as api, inspect_database(direct) as stored:
                        await create_many_chats(api)
                        await check_takeover(api, stored, workers)


async def create_many_chats(api: ApiClient) -> None:
    chats = [await api.create(f"number {n}") for n in range(40)]
    for n, chat in enumerate(chats):
        await api.wait_for_status(chat["id"], "waiting")
        assert await api.texts(chat["id"]) == [f"You said: number {n}"]


async def check_takeover(
    api: ApiClient, stored: DatabaseInspector, workers: list[ChatdProcess]
) -> None:
    chat_id = (await api.create("[[slow]]"))["id"]
    owner, _ = await stored.wait_for_worker(chat_id, *workers)
    view = await api.follow(chat_id, ChatView(), lambda view: len(view.preview) > 10)
    owner.kill()
    await api.follow(chat_id, view, lambda view: view.status == "waiting")
    assert await stored.transitions(chat_id) == [
        "create",
        "claim",
        "reap",
        "claim",
        "finish_turn",
    ]
    assert list(view.messages.values())[1:] == await api.texts(chat_id)


@needs_pgbouncer
async def test_without_a_direct_url_only_an_expired_lease_is_a_death(
    tmp_path: Path, tcp_server: str
) -> None:
    """Any session of the pooler may hold any lock, so that locks say nothing."""
    async with database_on_server(tcp_server) as direct:
        with running_pgbouncer(direct, SET_UP_FOR_IT) as dsn:
            async with (
                replicas(
                    tmp_path, dsn, "a", "b", "c", settings=POOLED, scripts=HANGING_SCRIPTS
                ) as workers,
                clients(workers) as apis,
                inspect_database(direct) as stored,
            ):
                assert all(worker.logged("heartbeat.lock_unproved") for worker in workers)
                await check_light_load(list(apis.values()), stored, POOLER_SECONDS)
                await check_takeover_after_the_lease(apis, stored, workers)


async def check_light_load(
    apis: list[ApiClient], stored: DatabaseInspector, seconds: float
) -> None:
    """Have a chat answered now and then while others go on. No chat is lost to anybody."""
    held = [(await api.create("[[slow]]"))["id"] for api in apis for _ in range(3)]
    deadline, number = time.monotonic() + seconds, 0
    while number < 5 or time.monotonic() < deadline:
        number += 1
        chat = await apis[number % len(apis)].create(f"number {number}")
        await apis[number % len(apis)].wait_for_status(chat["id"], "waiting")
    for chat_id in held:
        assert await stored.transitions(chat_id) == ["create", "claim"]
    assert await stored.fetch_value("SELECT count(*) FROM chat_events WHERE epoch > 1") == 0
    assert await stored.fetch_value("SELECT max(recoveries) FROM chats") == 0
    sys.stdout.write(f"behind PgBouncer: {seconds:g} s, {number} turns, no reap\n")


async def check_takeover_after_the_lease(
    apis: dict[str, ApiClient], stored: DatabaseInspector, workers: list[ChatdProcess]
) -> None:
    chat_id = (await apis["a"].create("[[slow]]"))["id"]
    owner, _ = await stored.wait_for_worker(chat_id, *workers)
    killed_at = await stored.now()
    owner.kill()
    claimed = await stored.wait_for_transition(chat_id, "claim", times=2)
    took = (claimed["created_at"] - killed_at).total_seconds()
    assert took > LEASE_SECONDS - 1, "not before the lease is over: its last renewal is 0.5 s old"
    [reaped] = [row for row in await stored.journal(chat_id) if row["transition"] == "reap"]
    assert reaped["reason"] == "lease_expired"
    assert await stored.fetch_value("SELECT max(recoveries) FROM chats") == 0
    sys.stdout.write(f"behind PgBouncer: taken over after {took:.1f} s\n")


@pytest.mark.skipif(not version(), reason="there is no PgBouncer here")
async def test_pooler_without_our_settings_ends_start_if_others_do_harm(
    tmp_path: Path, tcp_server: str
) -> None:
    """PgBouncer refuses the settings of a connection, unless it is told to ignore them."""
    async with database_on_server(tcp_server) as direct:
        name = urlsplit(direct).path[1:]
        async with inspect_database(direct) as db:
            await db.fetch_all(
                f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'"
            )
        with running_pgbouncer(direct) as dsn, chatd_process(tmp_path, dsn) as chatd:
            assert await chatd.wait_for_exit() == Exit.CONFIGURATION
    log = "".join(chatd.raw_lines)
    assert "SET default_transaction_isolation = 'read committed'" in log
    assert "unsupported startup parameter" not in log, "it connects without them"
