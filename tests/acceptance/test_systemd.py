"""A real process and its service manager: readiness, watchdog, stop timeout and inherited sockets."""

import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import httpx2
import pytest
from support.databases import database_on_server
from support.eventually import eventually
from support.processes import ChatdProcess, chatd_process
from support.scheduling_delay import measure_scheduling_delay
from support.sse_client import ChatView, client
from support.systemd_stub import SystemdStub, systemd_stub
from support.tcp_proxy import tcp_proxy

from chatd.cli.exit_codes import Exit

SCRIPTS = """
[providers.fake]
kind = "scripted"
[[providers.fake.script]]
text = "You said: {message}"
[[providers.fake.scripts.hang]]
text = "I begin and "
[[providers.fake.scripts.hang]]
hang = true
[[providers.fake.scripts.short]]
block_seconds = 1
[[providers.fake.scripts.short]]
text = "Here I am again."
[[providers.fake.scripts.long]]
block_seconds = 5
[[providers.fake.scripts.long]]
text = "Here I am again."
[models.fake]
provider = "fake"
model = "fake-1"
"""


@pytest.fixture(params=["a path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SystemdStub]:
    address = str(tmp_path / "notify") if request.param == "a path" else f"@chatd-{uuid4()}"
    with systemd_stub(address) as one:
        yield one


@pytest.fixture
def plain_manager(tmp_path: Path) -> Iterator[SystemdStub]:
    with systemd_stub(str(tmp_path / "notify")) as one:
        yield one


def inheriting(*listeners: socket.socket, names: str = "http") -> dict[str, Any]:
    """Return arguments for a process that inherits these sockets from 3 on, as it would from systemd."""
    script = (
        "import os, sys;"
        f"[os.dup2(fd, 3 + n) for n, fd in enumerate({[one.fileno() for one in listeners]})];"
        "os.environ['LISTEN_PID'] = str(os.getpid());"
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    return {
        "through": [sys.executable, "-I", "-S", "-c", script],
        "environment": {"LISTEN_FDS": str(len(listeners)), "LISTEN_FDNAMES": names},
        "pass_fds": [one.fileno() for one in listeners],
    }


async def test_ready_and_stopping_are_notified_with_extension(
    tmp_path: Path, dsn: str, manager: SystemdStub
) -> None:
    settings = "[worker]\nshutdown_grace_seconds = 60\n"
    environment = manager.environment(watchdog_seconds=2)
    with chatd_process(
        tmp_path, dsn, settings=settings, scripts=SCRIPTS, environment=environment
    ) as chatd:
        await eventually(lambda: manager.matching("READY", "1"))
        port = chatd.logged("http.listening")[0]["port"]
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
            assert (await http.get("/readyz")).status_code == 200
        await chatd.wait_until_ready()
        async with client(chatd) as api:
            chat_id, view = (await api.create("[[hang]]"))["id"], ChatView()
            async with anyio.create_task_group() as group:
                group.start_soon(api.follow, chat_id, view, lambda _: False)
                await eventually(lambda: view.preview)
                status = "Serving: 1 chats leased, 1 streams open"
                await eventually(lambda: manager.matching("STATUS", status))
                chatd.send_signal(signal.SIGTERM)
                await eventually(lambda: manager.matching("STOPPING", "1"))
        stopping = manager.matching("STOPPING")[0][0]
        asked = [at for at, _ in manager.matching("EXTEND_TIMEOUT_USEC") if at >= stopping]
        assert asked, "the stop may take a minute, and nobody was told"
        # The turn goes on, and so do the pings and the asking.
        await eventually(
            lambda: len([at for at, _ in manager.matching("WATCHDOG") if at > stopping]) > 1
        )
        chatd.send_signal(signal.SIGTERM)
        assert await chatd.wait_for_exit() == 0
    assert manager.key_order("READY", "STOPPING") == ["READY", "STOPPING"]


async def test_start_waiting_for_database_extends_timeout(
    tmp_path: Path, tcp_server: str, plain_manager: SystemdStub
) -> None:
    environment = plain_manager.environment()
    async with database_on_server(tcp_server) as dsn, tcp_proxy(dsn) as (wire, near):
        wire.blackhole()
        with chatd_process(tmp_path, near, scripts=SCRIPTS, environment=environment) as chatd:
            await eventually(lambda: len(plain_manager.matching("EXTEND_TIMEOUT_USEC")) > 1)
            assert plain_manager.matching("STATUS")[0][1]["STATUS"].startswith(
                "Waiting for the database"
            )
            assert not plain_manager.matching("READY")
            wire.restore()
            await eventually(
                lambda: plain_manager.matching("READY"), describe=lambda: "".join(chatd.raw_lines)
            )
            await chatd.wait_until_ready()


@pytest.mark.slow
async def test_watchdog_is_pinged_unless_loop_is_blocked(
    tmp_path: Path, dsn: str, plain_manager: SystemdStub
) -> None:
    patience = 4.0
    environment = plain_manager.environment(watchdog_seconds=patience)
    with chatd_process(tmp_path, dsn, scripts=SCRIPTS, environment=environment) as chatd:
        await chatd.wait_until_ready()
        await eventually(lambda: plain_manager.matching("WATCHDOG"))
        async with client(chatd) as api, measure_scheduling_delay(chatd) as busy:
            since = plain_manager.matching("WATCHDOG")[-1][0]
            await api.wait_for_status((await api.create("[[short]]"))["id"], "waiting")
            pings = len(plain_manager.matching("WATCHDOG"))
            await eventually(lambda: len(plain_manager.matching("WATCHDOG")) > pings)
            assert plain_manager.longest_watchdog_gap(since) < patience + busy.total
            since = time.monotonic()
            await api.wait_for_status((await api.create("[[long]]"))["id"], "waiting")
            assert plain_manager.longest_watchdog_gap(since) > patience

        def blocking_frames() -> list[str]:
            return [line["frames"][0] for line in chatd.logged("loop.blocked")]

        await eventually(
            lambda: any("provider.py" in f and "_run_action" in f for f in blocking_frames())
        )
        await eventually(
            lambda: [one for one in chatd.logged("loop.unblocked") if one["seconds"] > 3.5]
        )
        assert not chatd.logged("process.paused") or busy.total > 1


@pytest.mark.slow
async def test_watchdog_is_pinged_during_database_outage(
    tmp_path: Path, tcp_server: str, plain_manager: SystemdStub
) -> None:
    patience = 3.0
    settings = """
        [worker]
        heartbeat_seconds = 0.3
        lease_seconds = 1
        [database]
        connect_timeout_seconds = 0.5
        statement_timeout_seconds = 0.5
    """
    environment = plain_manager.environment(watchdog_seconds=patience)
    async with database_on_server(tcp_server) as dsn, tcp_proxy(dsn) as (wire, near):
        with chatd_process(
            tmp_path, near, settings=settings, scripts=SCRIPTS, environment=environment
        ) as chatd:
            await chatd.wait_until_ready()
            since = plain_manager.matching("READY")[0][0]
            wire.blackhole()
            async with measure_scheduling_delay(chatd) as busy:
                await chatd.wait_for_log("outage.began", child="heartbeat")
                # Longer than a lease and all tries to connect, and longer than the watchdog waits.
                await eventually(lambda: time.monotonic() > since + 2 * patience)
            assert plain_manager.longest_watchdog_gap(since) < patience + busy.total
            wire.restore_new_connections()
            await chatd.wait_for_log("outage.ended", child="heartbeat")
            assert not chatd.logged("watchdog.withheld")


async def test_sigstop_is_reported_as_process_paused(tmp_path: Path, dsn: str) -> None:
    with chatd_process(tmp_path, dsn, scripts=SCRIPTS) as chatd:
        await chatd.wait_until_ready()
        chatd.send_signal(signal.SIGSTOP)
        stopped_at = time.monotonic()
        await eventually(lambda: time.monotonic() > stopped_at + 2)
        chatd.send_signal(signal.SIGCONT)
        paused = await chatd.wait_for_log("process.paused")
        assert paused["seconds"] > 1.5
        await chatd.wait_until_ready()
        assert not chatd.logged("loop.blocked")


async def test_inherited_socket_keeps_its_queue(tmp_path: Path, dsn: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        options = inheriting(listener) | {"scripts": SCRIPTS}
        port = listener.getsockname()[1]
        with chatd_process(tmp_path, dsn, **options) as chatd:
            await chatd.wait_until_ready()
            assert chatd.url == f"http://127.0.0.1:{port}"
            assert chatd.logged("http.listening", handed_over=True)
            chatd.send_signal(signal.SIGTERM)
            assert await chatd.wait_for_exit() == 0
        async with (
            httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as http,
            anyio.create_task_group() as group,
        ):
            answers: list[int] = []

            async def ask() -> None:
                answers.append((await http.get("/livez")).status_code)

            group.start_soon(ask)  # nobody is there: it waits in the queue of the socket
            with chatd_process(tmp_path, dsn, **options) as chatd:
                await eventually(lambda: answers)
        assert answers == [200]


async def request_once(port: int) -> bytes:
    """Send one request on a connection of its own. Return the first line of the response."""
    async with await anyio.connect_tcp("127.0.0.1", port) as wire:
        await wire.send(b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        return (await wire.receive()).split(b"\r\n")[0]


@pytest.mark.slow
async def test_restarts_on_shared_socket_reset_no_connection(tmp_path: Path, dsn: str) -> None:
    lines: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0), backlog=1000) as listener, ExitStack() as stack:
        port = listener.getsockname()[1]

        async def start(name: str) -> ChatdProcess:
            options = inheriting(listener) | {"scripts": SCRIPTS}
            chatd = stack.enter_context(chatd_process(tmp_path, dsn, name=name, **options))
            await chatd.wait_for_log("daemon.ready")
            return chatd

        async def send_requests() -> None:
            while True:
                lines.append(await request_once(port))
                await anyio.sleep(0.002)  # the pace of the load, not a wait

        running = [await start("a0"), await start("b0")]
        async with anyio.create_task_group() as group:
            for _ in range(2):
                group.start_soon(send_requests)
            for at, name in enumerate(("a1", "b1")):
                running[at].send_signal(signal.SIGTERM)
                assert await running[at].wait_for_exit() == 0
                running[at] = await start(name)
            group.cancel_scope.cancel()
    assert set(lines) == {b"HTTP/1.1 200 OK"}
    assert len(lines) > 100


@pytest.mark.parametrize(
    ("address", "count", "words"),
    [("0.0.0.0", 1, "loopback"), ("127.0.0.1", 2, "FileDescriptorName=http")],
)
async def test_unsuitable_inherited_socket_ends_start(
    tmp_path: Path, dsn: str, address: str, count: int, words: str
) -> None:
    with socket.create_server((address, 0)) as listener:
        options = inheriting(*[listener] * count, names="")
        with chatd_process(tmp_path, dsn, scripts=SCRIPTS, **options) as chatd:
            assert await chatd.wait_for_exit() == Exit.CONFIGURATION
            assert words in "".join(chatd.raw_lines)


async def test_environment_of_parent_process_is_ignored(tmp_path: Path, dsn: str) -> None:
    environment = {"LISTEN_FDS": "1", "LISTEN_PID": "1", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"}
    with chatd_process(tmp_path, dsn, scripts=SCRIPTS, environment=environment) as chatd:
        await chatd.wait_until_ready()
        assert chatd.logged("http.listening", handed_over=False)
