"""Leases: renewed by heartbeats, released, and the table of workers."""

import asyncio
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from support.claims import claim_chats
from support.concurrency import WAIT_SECONDS, insert_chats, row_locked
from support.factories import REGISTRATION, WORKER, chat_with_status, insert_models, register_worker
from support.leases import REAPER, fencing_token_of

from chatd.domain.chat import Status
from chatd.store.commands import Release
from chatd.store.database import Database
from chatd.store.leases import ActivityReport, Leases, Renewal, RenewedLease
from chatd.store.turns import Turns


async def test_renew_returns_the_chats_that_name_the_worker(database: Database) -> None:
    running = await chat_with_status(database, Status.RUNNING, epoch=3)
    stopping = await chat_with_status(database, Status.INTERRUPTING)
    await chat_with_status(database, Status.RUNNING, worker_id=REAPER)
    await chat_with_status(database, Status.WAITING)
    await database.fetch("UPDATE workers SET heartbeat_at = heartbeat_at - interval '1 hour'")
    leases = Leases(database, worker_id=WORKER)
    async with database.dedicated_connection() as connection:
        renewed = await leases.renew(connection)
    assert renewed is not None
    assert set(renewed.chats) == {
        Renewal(running.id, 3, 1, Status.RUNNING),
        Renewal(stopping.id, 1, 1, Status.INTERRUPTING),
    }
    fresh = await database.fetch(
        "SELECT worker_id FROM workers WHERE heartbeat_at > clock_timestamp() - interval '5 seconds'"
    )
    assert [row["worker_id"] for row in fresh] == [WORKER], "and of no other worker"
    assert {chat.id for chat in await leases.leased_chats()} == {running.id, stopping.id}


async def test_renewal_of_a_pruned_worker_tells_so(database: Database) -> None:
    leases = Leases(database, worker_id=WORKER)
    async with database.dedicated_connection() as connection:
        assert await leases.renew(connection) is None
        await leases.register(connection, REGISTRATION)
        assert await leases.renew(connection) == RenewedLease([], draining=False)


async def test_locked_chat_delays_neither_the_renewal_nor_the_report(database: Database) -> None:
    """Another session holds the row of one chat. The others are reported, and it is reported later."""
    locked, free = [await chat_with_status(database, Status.RUNNING) for _ in range(2)]
    reports = [
        ActivityReport(chat.id, chat.epoch, "model stream", 1.0, 59.0, 0.5)
        for chat in (locked, free)
    ]
    leases = Leases(database, worker_id=WORKER)
    async with (
        database.dedicated_connection() as connection,
        row_locked(database, locked),
        asyncio.timeout(WAIT_SECONDS),
    ):
        renewed = await leases.renew(connection)
        assert renewed is not None
        assert len(renewed.chats) == 2
        assert await leases.report_activity(reports) == {(free.id, 1)}
    assert await leases.report_activity(reports) == {(locked.id, 1), (free.id, 1)}


async def test_report_stores_the_stage_and_the_last_progress(database: Database) -> None:
    chat = await chat_with_status(database, Status.RUNNING, epoch=2)
    leases = Leases(database, worker_id=WORKER)
    await leases.report_activity([ActivityReport(chat.id, 2, "model stream", 30.0, 20.0, 10.0)])
    row = await database.fetchrow(
        "SELECT activity, EXTRACT(EPOCH FROM clock_timestamp() - heartbeat_at)::float8 AS age,"
        " version FROM chats"
    )
    assert row is not None
    activity = row["activity"]
    assert (activity["epoch"], activity["stage"]) == (2, "model stream")
    assert 10 <= row["age"] < 20
    assert row["version"] == chat.version, "it is no transition"
    began, ends = (datetime.fromisoformat(activity[key]) for key in ("started_at", "deadline_at"))
    assert 50 <= (ends - began).total_seconds() < 51.1, "began to the second"


@pytest.mark.parametrize("change", [{"worker_id": REAPER}, {"epoch": 2}])
async def test_chat_of_another_lease_is_not_reported(
    database: Database, change: dict[str, Any]
) -> None:
    chat = await chat_with_status(database, Status.RUNNING, **change)
    leases = Leases(database, worker_id=WORKER)
    assert await leases.report_activity([ActivityReport(chat.id, 1, "model stream")]) == set()
    row = await database.fetchrow("SELECT activity FROM chats")
    assert row is not None
    assert row["activity"] is None


async def test_released_chat_keeps_its_pending_since(database: Database) -> None:
    first = await chat_with_status(database, Status.PENDING)
    turns = Turns(database)
    (claim,) = await claim_chats(database, 1)
    second = await chat_with_status(database, Status.PENDING)
    result = await turns.apply(
        fencing_token_of(claim.result.chat), Release(step=0, reason="shutdown")
    )
    assert result.chat.status is Status.PENDING
    assert result.chat.pending_since == claim.result.chat.started_at
    assert (result.chat.attempts, result.chat.recoveries, result.chat.last_error) == (0, 0, None)
    assert [c.result.chat.id for c in await claim_chats(database, 1)] == [first.id]
    assert [c.result.chat.id for c in await claim_chats(database, 1)] == [second.id]


async def test_heartbeat_updates_are_hot(database: Database) -> None:
    """No index has the columns of a heartbeat, so its updates are HOT and bloat neither table nor index."""
    await insert_models(database)
    ids = await insert_chats(database, 40, Status.RUNNING)
    reports = [ActivityReport(chat_id, 1, "model stream", 1.0, 59.0) for chat_id in ids]
    leases = Leases(database, worker_id=WORKER)
    await register_worker(database, leases)
    async with database.dedicated_connection() as connection:

        async def beat(times: int) -> dict[str, tuple[int, int]]:
            """Renew and report. Return the number of all updates so far and of the HOT ones, by table."""
            for _ in range(times):
                renewed = await leases.renew(connection)
                assert renewed is not None
                assert len(renewed.chats) == 40
                assert len(await leases.report_activity(reports)) == 40
            for run in (connection.execute, database.fetch):  # each session has counts of its own
                await run("SELECT pg_stat_force_next_flush()")
            await connection.execute("SELECT pg_stat_clear_snapshot()")
            rows = await connection.fetch(
                "SELECT relname, n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables"
                " WHERE relname IN ('chats', 'workers')"
            )
            return {row[0]: (row[1], row[2]) for row in rows}

        first, last = await beat(20), await beat(100)
    for table, updates in {"chats": 4000, "workers": 100}.items():
        assert last[table][0] - first[table][0] == updates
        assert last[table][1] - first[table][1] >= 0.99 * updates
    # The first activity report makes a row longer, so it may have to move to another page once.
    assert first["chats"][0] - first["chats"][1] <= 80


async def test_silent_workers_without_leases_are_pruned(database: Database) -> None:
    owner, idle, fresh = WORKER, uuid4(), uuid4()
    for worker_id in (owner, idle, fresh):
        leases = Leases(database, worker_id=worker_id)
        await register_worker(database, leases)
        await register_worker(database, leases)  # after an outage
    await chat_with_status(database, Status.RUNNING, worker_id=owner)
    await database.fetch(
        "UPDATE workers SET heartbeat_at = heartbeat_at - interval '1 hour' WHERE worker_id <> $1",
        fresh,
    )
    await leases.prune_workers(max_silence_seconds=60)
    assert await registered_workers(database) == {owner, fresh}
    await leases.deregister()
    assert await registered_workers(database) == {owner}


async def registered_workers(database: Database) -> set[UUID]:
    return {row["worker_id"] for row in await database.fetch("SELECT worker_id FROM workers")}
