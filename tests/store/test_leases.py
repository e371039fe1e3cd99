"""Leases: renewed by heartbeats, released, and the table of workers."""

from uuid import UUID, uuid4

from support.claims import claim_chats
from support.concurrency import insert_chats
from support.factories import REGISTRATION, WORKER, chat_with_status, insert_models, register_worker
from support.leases import REAPER, age_heartbeat, fencing_token_of

from chatd.domain.chat import Status
from chatd.store.commands import Release
from chatd.store.database import Database
from chatd.store.leases import ActivityReport, Leases, Renewal
from chatd.store.turns import Turns


async def test_renew_returns_the_leases_that_are_still_held(database: Database) -> None:
    running = await chat_with_status(database, Status.RUNNING, epoch=3)
    stopping = await chat_with_status(database, Status.INTERRUPTING)
    unreported = await chat_with_status(database, Status.RUNNING)
    others = await chat_with_status(database, Status.RUNNING, worker_id=REAPER)
    ended = await chat_with_status(database, Status.WAITING)
    for chat in (running, stopping, unreported, others):
        await age_heartbeat(database, chat, 10)
    leases = Leases(database, worker_id=WORKER)
    await register_worker(database, leases)
    await database.fetch("UPDATE workers SET heartbeat_at = heartbeat_at - interval '1 hour'")
    reports = [ActivityReport(chat.id, chat.epoch) for chat in (running, stopping, others, ended)]
    async with database.dedicated_connection() as connection:
        renewals = await leases.renew(connection, REGISTRATION, reports)
        assert set(renewals) == {
            Renewal(running.id, 3, 1, Status.RUNNING),
            Renewal(stopping.id, 1, 1, Status.INTERRUPTING),
        }
        assert await leases.renew(connection, REGISTRATION) == []
    ages = {
        row["id"]: row["age"] < 5
        for row in await database.fetch(
            "SELECT id, EXTRACT(EPOCH FROM clock_timestamp() - heartbeat_at)::float8 AS age"
            " FROM chats WHERE heartbeat_at IS NOT NULL"
        )
    }
    assert ages == {running.id: True, stopping.id: True, unreported.id: False, others.id: False}
    assert await database.fetch(
        "SELECT FROM workers WHERE heartbeat_at > clock_timestamp() - interval '5 seconds'"
    )
    assert {chat.id for chat in await leases.leased_chats()} == {
        running.id,
        stopping.id,
        unreported.id,
    }


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
            """Renew, and return the number of all updates so far and of the HOT ones, by table."""
            for _ in range(times):
                assert len(await leases.renew(connection, REGISTRATION, reports)) == 40
            await connection.execute("SELECT pg_stat_force_next_flush()")
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
