"""Watchdog of the service manager: it is notified while the heartbeat makes progress."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import asyncpg
import pytest
from support.eventually import eventually
from support.in_process import running_daemon, settings
from support.providers import catalog, scripted
from support.systemd_stub import SystemdStub, systemd_stub

from chatd.daemon import Daemon
from chatd.daemon.systemd import SystemdSocket
from chatd.daemon.systemd_notifier import SystemdNotifier
from chatd.store.leases import Leases, Renewal

BRISK = {
    "worker": {"heartbeat_seconds": 0.1, "lease_seconds": 0.5},
    "database": {"connect_timeout_seconds": 0.5, "statement_timeout_seconds": 0.5},
}


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[SystemdStub]:
    with systemd_stub(str(tmp_path / "notify")) as listening:
        yield listening


async def test_worker_without_its_lock_is_unhealthy(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatd.daemon.wiring.worker.MAX_RETRY_DELAY_SECONDS", 0.5)
    daemon = Daemon(settings(dsn, **BRISK), catalog=catalog(scripted()), handle_signals=False)
    workers = daemon.actors.worker
    assert workers is not None
    other = await asyncpg.connect(dsn)
    async with anyio.create_task_group() as group:
        # In a transaction, so that it is not taken for a stale session and terminated.
        async with other.transaction():
            await other.execute(
                "SELECT pg_advisory_lock(hashtextextended($1, 0))", str(daemon.worker_id)
            )
            group.start_soon(daemon.run)
            await eventually(lambda: not workers.healthy)
            assert not daemon.supervisor.ready.is_set()
            await other.execute(
                "SELECT pg_advisory_unlock(hashtextextended($1, 0))", str(daemon.worker_id)
            )
        await daemon.supervisor.ready.wait()
        await eventually(lambda: workers.healthy)
        daemon.stop()
    await other.close()


async def test_renewing_worker_is_healthy(dsn: str) -> None:
    async with running_daemon(dsn, **BRISK) as chatd:
        workers = chatd.daemon.actors.worker
        assert workers is not None
        first = workers.heartbeat._progress_at
        await eventually(lambda: workers.heartbeat._progress_at > first + 0.3)
        await eventually(lambda: workers.healthy)


async def test_unhealthy_process_sends_no_watchdog_ping_until_it_is_healthy(
    manager: SystemdStub,
) -> None:
    healthy = True
    notifier = SystemdNotifier(
        SystemdSocket(manager.address),
        status=lambda: "so far so good",
        healthy=lambda: healthy,
        max_stop_seconds=60,
    )
    notifier.ready()
    notifier.step()
    await eventually(lambda: len(manager.matching("WATCHDOG")) == 1)
    healthy = False
    for _ in range(3):
        notifier.step()
    notifier.status_note = "something is wrong"
    notifier.step()
    await eventually(
        lambda: manager.matching("STATUS", "Serving: so far so good (something is wrong)")
    )
    assert len(manager.matching("WATCHDOG")) == 1
    healthy = True
    notifier.step()
    await eventually(lambda: len(manager.matching("WATCHDOG")) == 2)


async def test_stop_extends_its_timeout_only_within_its_allowance(manager: SystemdStub) -> None:
    notifier = SystemdNotifier(
        SystemdSocket(manager.address),
        status=lambda: "so far so good",
        healthy=lambda: False,
        max_stop_seconds=0.2,
    )
    notifier.ready()
    notifier.stopping()
    await eventually(lambda: manager.matching("WATCHDOG"))
    assert manager.key_order("STOPPING", "EXTEND_TIMEOUT_USEC", "WATCHDOG") == [
        *("STOPPING", "EXTEND_TIMEOUT_USEC", "WATCHDOG")
    ]
    began = anyio.current_time()
    await eventually(lambda: anyio.current_time() > began + 0.2)
    before = len(manager.notifications)
    notifier.step()
    notifier.status_note = "now"
    notifier.step()
    await eventually(lambda: len(manager.notifications) > before)
    assert manager.notifications[-1][1] == {"STATUS": "Stopping: so far so good (now)"}
    notifier.ready()  # too late: a reload that ends during the stop reports nothing
    assert not manager.matching("READY")[1:]


async def test_worker_stopped_while_it_starts_leaves_no_row(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = Daemon(settings(dsn, **BRISK), catalog=catalog(scripted()), handle_signals=False)
    renew = Leases.renew

    async def renew_and_stop(*args: Any, **options: Any) -> list[Renewal] | None:
        renewals = await renew(*args, **options)
        daemon.stop()
        return renewals

    monkeypatch.setattr(Leases, "renew", renew_and_stop)
    await daemon.run()
    connection = await asyncpg.connect(dsn)
    assert await connection.fetchval("SELECT count(*) FROM workers") == 0
    await connection.close()
