"""Whether the heartbeat gets somewhere, which is what the watchdog of the service manager asks."""

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
from chatd.domain.errors import DatabaseUnavailable
from chatd.store.leases import Leases, ReapableWork, Renewal
from chatd.store.migrations import migrate

BRISK = {
    "worker": {"heartbeat_seconds": 0.1, "lease_seconds": 0.5},
    "database": {"connect_timeout_seconds": 0.5, "statement_timeout_seconds": 0.5},
}


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[SystemdStub]:
    with systemd_stub(str(tmp_path / "notify")) as listening:
        yield listening


async def test_a_lock_that_cannot_be_had_is_no_sign_of_life(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatd.daemon.wiring.worker.MAX_RETRY_DELAY_SECONDS", 0.5)
    daemon = Daemon(settings(dsn, **BRISK), catalog=catalog(scripted()), handle_signals=False)
    workers = daemon.actors.worker
    assert workers is not None
    thief = await asyncpg.connect(dsn)
    async with anyio.create_task_group() as group:
        # In a transaction, so that it does not pass for a ghost, which would be ended.
        async with thief.transaction():
            await thief.execute(
                "SELECT pg_advisory_lock(hashtextextended($1, 0))", str(daemon.worker_id)
            )
            group.start_soon(daemon.run)
            await eventually(lambda: not workers.healthy)
            assert not daemon.supervisor.ready.is_set()
            await thief.execute(
                "SELECT pg_advisory_unlock(hashtextextended($1, 0))", str(daemon.worker_id)
            )
        await daemon.supervisor.ready.wait()
        await eventually(lambda: workers.healthy)
        daemon.stop()
    await thief.close()


async def test_who_renews_is_sound(dsn: str) -> None:
    async with running_daemon(dsn, **BRISK) as chatd:
        workers = chatd.daemon.actors.worker
        assert workers is not None
        first = workers.heartbeat._progress_at
        await eventually(lambda: workers.heartbeat._progress_at > first + 0.3)
        await eventually(lambda: workers.healthy)


async def test_an_unsound_process_sends_no_ping_until_it_is_sound_again(
    manager: SystemdStub,
) -> None:
    sound = True
    attendant = SystemdNotifier(
        SystemdSocket(manager.address),
        status=lambda: "so far so good",
        healthy=lambda: sound,
        max_stop_seconds=60,
    )
    attendant.ready()
    attendant.step()
    await eventually(lambda: len(manager.matching("WATCHDOG")) == 1)
    sound = False
    for _ in range(3):
        attendant.step()
    attendant.status_note = "something is wrong"
    attendant.step()
    await eventually(
        lambda: manager.matching("STATUS", "Serving: so far so good (something is wrong)")
    )
    assert len(manager.matching("WATCHDOG")) == 1
    sound = True
    attendant.step()
    await eventually(lambda: len(manager.matching("WATCHDOG")) == 2)


async def test_a_stop_asks_for_time_only_as_long_as_it_is_in_order(manager: SystemdStub) -> None:
    attendant = SystemdNotifier(
        SystemdSocket(manager.address),
        status=lambda: "so far so good",
        healthy=lambda: False,
        max_stop_seconds=0.2,
    )
    attendant.ready()
    attendant.stopping()
    await eventually(lambda: manager.matching("WATCHDOG"))
    assert manager.key_order("STOPPING", "EXTEND_TIMEOUT_USEC", "WATCHDOG") == [
        *("STOPPING", "EXTEND_TIMEOUT_USEC", "WATCHDOG")
    ]
    began = anyio.current_time()
    await eventually(lambda: anyio.current_time() > began + 0.2)
    before = len(manager.notifications)
    attendant.step()
    attendant.status_note = "now"
    attendant.step()
    await eventually(lambda: len(manager.notifications) > before)
    assert manager.notifications[-1][1] == {"STATUS": "Stopping: so far so good (now)"}
    attendant.ready()  # too late: a reload that ends now says nothing
    assert not manager.matching("READY")[1:]


async def test_who_is_stopped_while_it_starts_leaves_no_row(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = Daemon(settings(dsn, **BRISK), catalog=catalog(scripted()), handle_signals=False)
    renew = Leases.renew

    async def renewed(*given: Any, **more: Any) -> list[Renewal]:
        beats = await renew(*given, **more)
        daemon.stop()
        return beats

    monkeypatch.setattr(Leases, "renew", renewed)
    await daemon.run()
    connection = await asyncpg.connect(dsn)
    assert await connection.fetchval("SELECT count(*) FROM workers") == 0
    await connection.close()


@pytest.mark.parametrize("away", [False, True])
async def test_who_found_the_database_away_believes_no_free_lock(
    dsn: str, monkeypatch: pytest.MonkeyPatch, away: bool
) -> None:
    """It may have been away for all workers, and some may not have taken their locks again."""
    tries = 0
    looked: list[bool] = []
    check, look = migrate.check, Leases.find_reapable

    async def checked(*given: Any, **more: Any) -> None:
        nonlocal tries
        tries += 1
        if away and tries == 1:
            raise DatabaseUnavailable
        await check(*given, **more)

    async def looks(*given: Any, locks_tell: bool, **more: Any) -> ReapableWork:
        looked.append(locks_tell)
        return await look(*given, trust_free_locks=locks_tell, **more)

    monkeypatch.setattr(migrate, "check", checked)
    monkeypatch.setattr(Leases, "find_reapable", looks)
    async with running_daemon(dsn, worker={"reap_interval_seconds": 0.1}):
        await eventually(lambda: len(looked) > 2)
    assert tries == 1 + away
    assert set(looked) == {not away}
