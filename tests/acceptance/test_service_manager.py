"""A real process and what starts it: readiness, the watchdog, time to stop, a socket handed over."""

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
from managing import Manager, managed
from running import Chatd, View, client, database_on, fact, machine, started
from wire import wired

from chatd.cli.exits import Exit

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
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    address = str(tmp_path / "notify") if request.param == "a path" else f"@chatd-{uuid4()}"
    with managed(address) as one:
        yield one


@pytest.fixture
def manager_(tmp_path: Path) -> Iterator[Manager]:
    with managed(str(tmp_path / "notify")) as one:
        yield one


def handed(*listeners: socket.socket, names: str = "http") -> dict[str, Any]:
    """How to start a process that is given these sockets from 3 on, as systemd does after its fork."""
    script = (
        "import os, sys;"
        f"[os.dup2(fd, 3 + n) for n, fd in enumerate({[one.fileno() for one in listeners]})];"
        "os.environ['LISTEN_PID'] = str(os.getpid());"
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    return {
        "through": [sys.executable, "-c", script],
        "environment": {"LISTEN_FDS": str(len(listeners)), "LISTEN_FDNAMES": names},
        "pass_fds": [one.fileno() for one in listeners],
    }


async def test_ready_is_said_when_it_serves_and_a_stop_asks_for_its_time(
    tmp_path: Path, dsn: str, manager: Manager
) -> None:
    settings = "[worker]\nshutdown_grace_seconds = 60\n"
    environment = manager.environment(watchdog_seconds=2)
    with started(
        tmp_path, dsn, settings=settings, scripts=SCRIPTS, environment=environment
    ) as chatd:
        await fact(lambda: manager.said("READY", "1"))
        port = chatd.said("http.listening")[0]["port"]
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
            assert (await http.get("/readyz")).status_code == 200
        await chatd.ready()
        async with client(chatd) as api:
            chat_id, view = (await api.create("[[hang]]"))["id"], View()
            async with anyio.create_task_group() as group:
                group.start_soon(api.follow, chat_id, view, lambda _: False)
                await fact(lambda: view.preview)
                status = "Serving: 1 chats in hand, 1 streams open"
                await fact(lambda: manager.said("STATUS", status))
                chatd.send(signal.SIGTERM)
                await fact(lambda: manager.said("STOPPING", "1"))
        stopping = manager.said("STOPPING")[0][0]
        asked = [at for at, _ in manager.said("EXTEND_TIMEOUT_USEC") if at >= stopping]
        assert asked, "the stop may take a minute, and nobody was told"
        # The turn goes on, and so do the pings and the asking.
        await fact(lambda: len([at for at, _ in manager.said("WATCHDOG") if at > stopping]) > 1)
        chatd.send(signal.SIGTERM)
        assert await chatd.ended() == 0
    assert manager.order("READY", "STOPPING") == ["READY", "STOPPING"]


async def test_a_start_that_waits_for_its_database_says_so_and_asks_for_time(
    tmp_path: Path, far_server: str, manager_: Manager
) -> None:
    environment = manager_.environment()
    async with database_on(far_server) as dsn, wired(dsn) as (wire, near):
        wire.die()
        with started(tmp_path, near, scripts=SCRIPTS, environment=environment) as chatd:
            await fact(lambda: len(manager_.said("EXTEND_TIMEOUT_USEC")) > 1)
            assert manager_.said("STATUS")[0][1]["STATUS"].startswith("Waiting for the database")
            assert not manager_.said("READY")
            wire.heal()
            await fact(lambda: manager_.said("READY"), what=lambda: "".join(chatd.raw))
            await chatd.ready()


async def test_the_watchdog_acts_on_a_loop_that_is_blocked_and_not_before(
    tmp_path: Path, dsn: str, manager_: Manager
) -> None:
    patience = 4.0
    environment = manager_.environment(watchdog_seconds=patience)
    with started(tmp_path, dsn, scripts=SCRIPTS, environment=environment) as chatd:
        await chatd.ready()
        await fact(lambda: manager_.said("WATCHDOG"))
        async with client(chatd) as api, machine(chatd) as busy:
            since = manager_.said("WATCHDOG")[-1][0]
            await api.until((await api.create("[[short]]"))["id"], "waiting")
            pings = len(manager_.said("WATCHDOG"))
            await fact(lambda: len(manager_.said("WATCHDOG")) > pings)
            assert manager_.longest_silence(since) < patience + busy.late
            since = time.monotonic()
            await api.until((await api.create("[[long]]"))["id"], "waiting")
            assert manager_.longest_silence(since) > patience

        def accused() -> list[str]:
            return [line["frames"][0] for line in chatd.said("loop.blocked")]

        await fact(lambda: any("scripted.py" in f and "_act" in f for f in accused()))
        await fact(lambda: [one for one in chatd.said("loop.unblocked") if one["seconds"] > 3.5])
        assert not chatd.said("process.paused") or busy.late > 1


async def test_an_outage_of_the_database_is_no_reason_to_restart(
    tmp_path: Path, far_server: str, manager_: Manager
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
    environment = manager_.environment(watchdog_seconds=patience)
    async with database_on(far_server) as dsn, wired(dsn) as (wire, near):
        with started(
            tmp_path, near, settings=settings, scripts=SCRIPTS, environment=environment
        ) as chatd:
            await chatd.ready()
            since = manager_.said("READY")[0][0]
            wire.die()
            async with machine(chatd) as busy:
                await chatd.says("outage.began", child="heartbeat")
                # Longer than a lease and all tries to connect, and longer than the watchdog waits.
                await fact(lambda: time.monotonic() > since + 2 * patience)
            assert manager_.longest_silence(since) < patience + busy.late
            wire.heal_for_new()
            await chatd.says("outage.ended", child="heartbeat")
            assert not chatd.said("watchdog.withheld")


async def test_a_process_that_was_stopped_accuses_no_stack(tmp_path: Path, dsn: str) -> None:
    with started(tmp_path, dsn, scripts=SCRIPTS) as chatd:
        await chatd.ready()
        chatd.send(signal.SIGSTOP)
        stopped_at = time.monotonic()
        await fact(lambda: time.monotonic() > stopped_at + 2)
        chatd.send(signal.SIGCONT)
        paused = await chatd.says("process.paused")
        assert paused["seconds"] > 1.5
        await chatd.ready()
        assert not chatd.said("loop.blocked")


async def test_a_socket_that_was_handed_over_is_served_on_and_keeps_its_queue(
    tmp_path: Path, dsn: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        how = handed(listener) | {"scripts": SCRIPTS}
        port = listener.getsockname()[1]
        with started(tmp_path, dsn, **how) as chatd:
            await chatd.ready()
            assert chatd.url == f"http://127.0.0.1:{port}"
            assert chatd.said("http.listening", handed_over=True)
            chatd.send(signal.SIGTERM)
            assert await chatd.ended() == 0
        async with (
            httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as http,
            anyio.create_task_group() as group,
        ):
            answers: list[int] = []

            async def ask() -> None:
                answers.append((await http.get("/livez")).status_code)

            group.start_soon(ask)  # nobody is there: it waits in the queue of the socket
            with started(tmp_path, dsn, **how) as chatd:
                await fact(lambda: answers)
        assert answers == [200]


async def ask_alone(port: int) -> bytes:
    """One request on a connection of its own; the first line of the answer."""
    async with await anyio.connect_tcp("127.0.0.1", port) as wire:
        await wire.send(b"GET /livez HTTP/1.1\r\nhost: chatd\r\nconnection: close\r\n\r\n")
        return (await wire.receive()).split(b"\r\n")[0]


@pytest.mark.slow
async def test_processes_that_share_a_socket_reset_nobody_while_they_are_restarted(
    tmp_path: Path, dsn: str
) -> None:
    lines: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0), backlog=1000) as listener, ExitStack() as stack:
        port = listener.getsockname()[1]

        async def restarted(name: str) -> Chatd:
            how = handed(listener) | {"scripts": SCRIPTS}
            chatd = stack.enter_context(started(tmp_path, dsn, name=name, **how))
            await chatd.says("daemon.ready")
            return chatd

        async def hammer() -> None:
            while True:
                lines.append(await ask_alone(port))

        running = [await restarted("a0"), await restarted("b0")]
        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(hammer)
            for number in range(1, 3):
                for at, name in enumerate(("a", "b")):
                    running[at].send(signal.SIGTERM)
                    assert await running[at].ended() == 0
                    running[at] = await restarted(f"{name}{number}")
            group.cancel_scope.cancel()
    assert set(lines) == {b"HTTP/1.1 200 OK"}
    assert len(lines) > 100


@pytest.mark.parametrize(
    ("address", "count", "words"),
    [("0.0.0.0", 1, "loopback"), ("127.0.0.1", 2, "FileDescriptorName=http")],
)
async def test_a_socket_that_must_not_be_served_on_is_refused(
    tmp_path: Path, dsn: str, address: str, count: int, words: str
) -> None:
    with socket.create_server((address, 0)) as listener:
        how = handed(*[listener] * count, names="")
        with started(tmp_path, dsn, scripts=SCRIPTS, **how) as chatd:
            assert await chatd.ended() == Exit.CONFIGURATION
            assert words in "".join(chatd.raw)


async def test_what_was_meant_for_the_parent_is_left_alone(tmp_path: Path, dsn: str) -> None:
    environment = {"LISTEN_FDS": "1", "LISTEN_PID": "1", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"}
    with started(tmp_path, dsn, scripts=SCRIPTS, environment=environment) as chatd:
        await chatd.ready()
        assert chatd.said("http.listening", handed_over=False)
