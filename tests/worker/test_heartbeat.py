"""Heartbeat and lease expiry: renewals, the session lock, and chats that are lost."""

import asyncio
from typing import Any, cast
from uuid import uuid4

import asyncpg
import pytest
from support.eventually import eventually
from support.factories import (
    chat_with_status,
    columns_for,
    insert_chat,
)
from support.heartbeats import heartbeat_on
from support.in_process import fetch_rows, running_daemon
from support.providers import HeldProvider

from chatd.domain.chat import Status
from chatd.store.database import Database
from chatd.store.leases import Leases, RenewedLease
from chatd.supervision.child import ChildHandle
from chatd.worker.chat_tasks import ChatTaskPool
from chatd.worker.clock import boottime
from chatd.worker.heartbeat import Heartbeat
from chatd.worker.worker_lease import WorkerLease


async def cut_heartbeat(database: Database, worker: set[int]) -> None:
    """Terminate the session that holds the lock."""
    await fetch_rows(
        database, "SELECT pg_terminate_backend(pid) FROM unnest($1::int[]) pid", [*worker]
    )


async def test_lost_heartbeat_connection_retakes_the_lock_and_loses_no_chat(
    dsn: str, database: Database
) -> None:
    held = HeldProvider()
    async with running_daemon(
        dsn, held, worker={"heartbeat_seconds": 600, "lease_seconds": 1800}
    ) as chatd:
        chat = await chatd.api.create("hello")
        await eventually(lambda: held.running_count)
        for _ in range(3):
            before = await locks(database)
            assert len(before) == 1
            await cut_heartbeat(database, before)
            await eventually(lambda before=before: retaken(database, before))
        held.go.set()
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert [e["transition"] for e in await chatd.journal(chat["id"])] == [
            "create",
            "claim",
            "finish_turn",
        ]
        assert chatd.logged("outage.began", child="heartbeat")
        assert chatd.logged("outage.ended", child="heartbeat")


async def test_lock_that_is_held_again_shows_the_deaths_of_others(
    dsn: str, database: Database
) -> None:
    """Two looks are proof enough, without a heartbeat of its own or a pause between."""
    worker = {"heartbeat_seconds": 600, "lease_seconds": 1800}
    async with running_daemon(dsn, worker=worker) as chatd:
        before = await locks(database)
        await cut_heartbeat(database, before)
        await eventually(lambda: retaken(database, before))
        orphan = await chat_with_status(
            database,
            Status.RUNNING,
            owner_id="local",
            last_model_config_id=chatd.daemon.catalog.default.id,
        )
        [entry] = await eventually(lambda: chatd.journal(str(orphan.id), "reap"))
        assert entry["data"]["reason"] == "worker_dead"


async def locks(database: Database) -> set[int]:
    found = await fetch_rows(
        database,
        "SELECT pid FROM pg_locks WHERE locktype = 'advisory'"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    )
    return {row["pid"] for row in found}


async def retaken(database: Database, before: set[int]) -> bool:
    now = await locks(database)
    return len(now) == 1 and not now & before


async def test_worker_without_its_lock_claims_nothing(dsn: str, database: Database) -> None:
    """Another session holds the lock: this worker must count as dead, also to itself."""
    async with running_daemon(dsn, worker={"poll_seconds": 0.02}) as chatd:
        worker_id = str(chatd.daemon.worker_id)
        holder = await locks(database)
        other = await asyncpg.connect(dsn)
        try:
            key = "hashtextextended($1::text, 0)"
            await other.execute("BEGIN")  # an idle session would be terminated as stale
            taking = asyncio.create_task(
                other.fetchval(f"SELECT pg_advisory_lock({key})::text", worker_id)
            )
            await eventually(lambda: waiting_for_lock(database))
            await cut_heartbeat(database, holder)
            await taking
            await chatd.wait_for_log("outage.began", child="heartbeat")
            chat = await chatd.api.create("hello")
            statements = chatd.daemon.services.database.statement_count
            await eventually(lambda: chatd.daemon.services.database.statement_count > statements)
            claimer_ran = asyncio.Event()
            chatd.daemon.services.change_bus.subscribe(lambda _: claimer_ran.set())
            await chatd.api.http.patch(f"/api/v1/chats/{chat['id']}", json={"title": "x"})
            await claimer_ran.wait()
            assert (await chatd.api.chat(chat["id"]))["status"] == "pending"
            await other.fetchval(f"SELECT pg_advisory_unlock({key})", worker_id)
            await chatd.api.wait_for_status(chat["id"], "waiting")
        finally:
            await other.close()


async def waiting_for_lock(database: Database) -> bool:
    return bool(
        await fetch_rows(
            database, "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        )
    )


async def test_lost_chat_is_dropped_at_the_next_heartbeat(dsn: str, database: Database) -> None:
    held = HeldProvider()
    async with running_daemon(
        dsn,
        held,
        # A long lease, so that the watchdog does not do it.
        worker={"heartbeat_seconds": 0.1, "lease_seconds": 1800, "reap_interval_seconds": 600},
    ) as chatd:
        chat = await chatd.api.create("hello")
        await eventually(lambda: held.running_count)
        chatd.daemon.chat_tasks.stop_claiming()
        await database.fetch(
            "UPDATE chats SET worker_id = $1, epoch = epoch + 1, version = version + 1", uuid4()
        )
        lost = await chatd.wait_for_log("chat.lost", chat_id=chat["id"])
        assert lost["epoch"] == 1
        assert held.running_count == 0
        assert (await chatd.wait_for_log("chat.turn", outcome="lost"))["epoch"] == 1
        assert await chatd.api.texts(chat["id"]) == []


async def test_heartbeat_renews_only_leased_chats(dsn: str, database: Database) -> None:
    """A chat claimed by a statement whose response was lost expires and runs again."""
    worker = {"heartbeat_seconds": 0.1, "lease_seconds": 2, "reap_interval_seconds": 0.1}
    async with running_daemon(dsn, worker=worker) as chatd:
        orphan = await insert_chat(
            database,
            **(
                columns_for(Status.RUNNING)
                | {"worker_id": chatd.daemon.worker_id, "owner_id": "local"}
            ),
            last_model_config_id=chatd.daemon.catalog.default.id,
        )
        await eventually(lambda: chatd.journal(str(orphan.id), "reap"))
        await chatd.api.wait_for_status(str(orphan.id), "waiting")


async def test_chat_with_an_expired_lease_is_dropped(dsn: str, database: Database) -> None:
    """The heartbeat does not renew. After the local deadline the task is cancelled, without a query."""
    held = HeldProvider()
    worker = {"heartbeat_seconds": 600, "lease_seconds": 1800}
    async with running_daemon(dsn, held, worker=worker) as chatd:
        chat = await chatd.api.create("hello")
        await eventually(lambda: held.running_count)
        chatd.daemon.chat_tasks.stop_claiming()
        [lease] = chatd.daemon.chat_tasks.leases
        lease.renewed_at -= 1201
        await chatd.wait_for_log("chat.lost", chat_id=chat["id"])
        assert held.running_count == 0
        assert (await chatd.journal(chat["id"]))[-1]["transition"] == "claim"  # nothing was written


async def test_pruned_worker_is_registered_again(dsn: str, database: Database) -> None:
    """The worker was frozen for so long that others pruned its row. It goes on by the same connection."""
    async with running_daemon(dsn, worker={"heartbeat_seconds": 0.1}) as chatd:
        (before,) = await fetch_rows(database, "DELETE FROM workers RETURNING *")
        await eventually(lambda: database.fetch("SELECT FROM workers"))
        (after,) = await fetch_rows(database, "SELECT * FROM workers")
        assert after["worker_id"] == chatd.daemon.worker_id
        for column in ("host", "pid", "version", "max_chats", "models"):
            assert after[column] == before[column]
        assert after["models"] == [model.id for model in chatd.daemon.catalog.models]


async def test_renewal_that_never_ends_is_an_outage_after_one_heartbeat(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    renew, stalled = Leases.renew, asyncio.Event()

    async def stalling(self: Leases, *args: Any, **options: Any) -> RenewedLease | None:
        if chatd.daemon.supervisor.ready.is_set() and not stalled.is_set():
            stalled.set()
            await asyncio.Event().wait()
        return await renew(self, *args, **options)

    database = {"statement_timeout_seconds": 600}
    worker = {"heartbeat_seconds": 0.2, "lease_seconds": 1800}
    async with running_daemon(dsn, database=database, worker=worker) as chatd:
        monkeypatch.setattr(Leases, "renew", stalling)
        outage = await chatd.wait_for_log("outage.began", child="heartbeat")
        assert stalled.is_set()
        assert "within one heartbeat" in outage["error"]
        await chatd.wait_for_log("outage.ended", child="heartbeat")


async def test_lock_in_a_session_of_its_own_is_registered_as_proved(
    dsn: str, database: Database
) -> None:
    async with running_daemon(dsn) as chatd:
        [row] = await fetch_rows(database, "SELECT worker_id, lock_proved FROM workers")
        assert (row["worker_id"], row["lock_proved"]) == (chatd.daemon.worker_id, True)


async def test_silent_chat_is_not_reported_again(dsn: str, database: Database) -> None:
    """The lease is renewed all the same. The chat's own heartbeat is when it last made progress."""
    held = HeldProvider()
    async with running_daemon(dsn, held, worker={"heartbeat_seconds": 0.05}) as chatd:
        chat = await chatd.api.create("hello")

        async def reported() -> Any:
            row = await database.fetchrow("SELECT activity, heartbeat_at FROM chats")
            assert row is not None
            stage = (row["activity"] or {}).get("stage")
            return row["heartbeat_at"] if stage == "model stream" else None

        first = await eventually(reported)
        renewals = set()

        async def renewed_often() -> bool:
            row = await database.fetchrow("SELECT heartbeat_at FROM workers")
            assert row is not None
            renewals.add(row["heartbeat_at"])
            return len(renewals) > 5

        await eventually(renewed_often)
        assert await reported() == first
        held.go.set()
        await chatd.api.wait_for_status(chat["id"], "waiting")


async def test_new_life_of_the_heartbeat_is_no_progress() -> None:
    """It fails again and again before it renews: only a new process cures that."""

    class BrokenDatabase:
        def dedicated_connection(self, **_: object) -> Any:
            raise ValueError("a bug")

    heartbeat = heartbeat_on(BrokenDatabase())
    heartbeat._progress_at -= 100
    for _ in range(2):
        with pytest.raises(ValueError, match="a bug"):
            await heartbeat.run(ChildHandle("heartbeat"))
        assert heartbeat.seconds_since_progress > 100


async def test_lease_counts_from_when_its_renewal_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server may have renewed it at once, and the response may have taken long."""
    now = boottime()

    class SlowLeases:
        async def register(self, *_: object) -> None:
            pass

        async def renew(self, _: object) -> RenewedLease:
            nonlocal now
            now += 4
            return RenewedLease([], draining=False)

    monkeypatch.setattr("chatd.worker.heartbeat.boottime", lambda: now)
    worker_lease, tasks = WorkerLease(local_lease_seconds=15), SentAt()
    unused: Any = None
    heartbeat = Heartbeat(
        unused,
        cast("Leases", SlowLeases()),
        cast("ChatTaskPool", tasks),
        worker_lease=worker_lease,
        heartbeat_seconds=5,
        max_chats=lambda: 1,
        models=tuple,
    )
    await heartbeat.step(unused)
    assert [worker_lease.renewed_at, *tasks.sent_at] == [now - 4, now - 4]


class SentAt:
    """Task pool without leases, which records of when the renewals are."""

    def __init__(self) -> None:
        self.leases: tuple[()] = ()
        self.sent_at: list[float] = []

    def apply_renewals(self, _: object, __: object, *, sent_at: float) -> None:
        self.sent_at.append(sent_at)

    def pause_claims(self, *, paused: bool) -> None:
        assert not paused
