"""Janitor: expired rows are deleted, and nothing else."""

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from structlog.testing import capture_logs
from support.actors import make_janitor
from support.concurrency import gather_all
from support.factories import (
    OWNER,
    chat_with_status,
    insert_models,
    register_worker,
)
from support.in_process import fetch_rows

from chatd.domain.chat import Status
from chatd.store.chats import Chats
from chatd.store.database import Database
from chatd.store.idempotency import IdempotencyKey, IdempotencyStore
from chatd.store.leases import Leases
from chatd.store.sweeps import (
    EXPIRED_CHATS,
    IDEMPOTENCY_KEYS,
    JOURNAL,
    MESSAGE_WORDS,
    PARTS,
    SEARCH_POSITIONS,
    TOMBSTONES,
    TOOL_OUTPUTS,
)

TABLES = {
    *(JOURNAL, PARTS, TOMBSTONES, IDEMPOTENCY_KEYS, TOOL_OUTPUTS),
    *(MESSAGE_WORDS, SEARCH_POSITIONS, EXPIRED_CHATS),
}


async def test_janitor_deletes_expired_rows_alone(database: Database) -> None:
    await insert_models(database)
    chats = Chats(database)
    chat = (await chats.create(owner_id=OWNER, model_config_id=(await one_model(database)))).chat
    for number in range(4):
        await chats.describe(chat.id, owner_id=OWNER, title=str(number))
    await database.fetch(
        "UPDATE chat_events SET created_at = clock_timestamp() - interval '8 days' WHERE version <= 3"
    )
    running = await chat_with_status(database, Status.RUNNING)
    idle = await chat_with_status(database, Status.WAITING)
    await chat_with_status(database, Status.WAITING, expires_at="now")
    part = [{"index": 0, "type": "text", "text": "x"}]
    for owner, epoch in ((running, 0), (running, 1), (idle, 0)):
        await database.fetch(
            "INSERT INTO chat_parts (chat_id, epoch, first_part, last_part, parts)"
            " VALUES ($1, $2, 1, 1, $3)",
            owner.id,
            epoch,
            part,
        )
    leases = Leases(database, worker_id=uuid4())
    await register_worker(database, leases)
    silent = Leases(database, worker_id=uuid4())
    await register_worker(database, silent)
    owning = running.worker_id
    await register_worker(database, Leases(database, worker_id=owning))
    await database.fetch(
        "UPDATE workers SET heartbeat_at = clock_timestamp() - interval '1 hour'"
        " WHERE worker_id <> $1",
        leases.worker_id,
    )
    await database.fetch(
        "INSERT INTO chat_tombstones (owner_id, chat_id, deleted_at)"
        " SELECT 'ann', gen_random_uuid(), clock_timestamp() - n * interval '1 day'"
        " FROM generate_series(5, 9) n"
    )
    old, fresh = (IdempotencyKey(OWNER, name, b"request hash") for name in ("old", "fresh"))
    for key in (old, fresh):
        await chats.describe(idle.id, owner_id=OWNER, title=key.key, key=key)
    for key, hours in ((old, 6.1), (fresh, 5.9)):
        await database.fetch(
            "UPDATE idempotency_keys SET created_at = clock_timestamp() - make_interval(secs => $2)"
            " WHERE key = $1",
            key.key,
            hours * 3600,
        )
    keys = IdempotencyStore(database)
    janitor = make_janitor(database, leases)
    await janitor.step()
    versions = await fetch_rows(
        database, "SELECT version FROM chat_events WHERE chat_id = $1 ORDER BY version", chat.id
    )
    assert [row["version"] for row in versions] == [4, 5]
    kept = {row["id"] for row in await fetch_rows(database, "SELECT id FROM chats")}
    assert kept == {chat.id, running.id, idle.id}
    left = await fetch_rows(database, "SELECT chat_id, epoch FROM chat_parts")
    assert [(row["chat_id"], row["epoch"]) for row in left] == [(running.id, 1)]
    workers = {
        row["worker_id"] for row in await fetch_rows(database, "SELECT worker_id FROM workers")
    }
    assert workers == {leases.worker_id, owning}
    assert len(await fetch_rows(database, "SELECT FROM chat_tombstones")) == 3
    assert await keys.lookup(old) is None
    stored = await keys.lookup(fresh)
    assert stored is not None
    assert stored["title"] == "fresh"
    again = await chats.describe(idle.id, owner_id=OWNER, title="fresh", key=fresh)
    assert again.chat.version == stored["version"], "it was applied twice"


async def one_model(database: Database) -> object:
    return (await fetch_rows(database, "SELECT id FROM chat_model_configs LIMIT 1"))[0]["id"]


async def test_one_process_sweeps_at_a_time(database: Database) -> None:
    """Of several janitors one sweeps each table, and another one goes on a minute later."""
    janitors = [make_janitor(database, Leases(database, worker_id=uuid4())) for _ in range(5)]
    await insert_tombstones(database, 20_000, days=0)
    before = await sweeps_of(database)
    await gather_all(*(janitor.step() for janitor in janitors))
    first = await sweeps_of(database)
    assert before == {}
    assert first.keys() == TABLES
    assert first[TOMBSTONES]["next_page"] == 16
    await gather_all(*(janitor.step() for janitor in janitors))
    assert await sweeps_of(database) == first
    await let_a_minute_pass(database)
    await gather_all(*(janitor.step() for janitor in janitors))
    second = await sweeps_of(database)
    assert second[TOMBSTONES]["next_page"] == 32
    pages = [32]
    while pages[-1] >= max(pages):
        assert len(pages) < 100, "no sweep begins at the first page again"
        await let_a_minute_pass(database)
        await janitors[0].step()
        pages.append((await sweeps_of(database))[TOMBSTONES]["next_page"])
    assert pages[-1] == 16, "it begins again at the end of the table"


async def test_sweep_that_fails_does_not_keep_others_from_running(
    dsn: str, database: Database
) -> None:
    """The journal is locked, so that its sweep runs out of time. Everything else is deleted."""
    await insert_tombstones(database, 5, days=30)
    slow = Database(dsn, statement_timeout_seconds=0.5)
    await slow.open()
    chat = await chat_with_status(database, Status.WAITING)
    await database.fetch(
        "INSERT INTO chat_events VALUES ($1, 1, now() - interval '1 year', 'create', 'waiting', 0)",
        chat.id,
    )
    try:
        janitor = make_janitor(slow, Leases(slow, worker_id=uuid4()))
        async with database.dedicated_connection() as other, other.transaction():
            await other.execute("LOCK TABLE chat_events IN ACCESS EXCLUSIVE MODE")
            with capture_logs() as logs:
                await janitor.step()
        failed = [line["table"] for line in logs if line["event"] == "janitor.sweep_failed"]
        assert failed == ["chat_events"]
        assert not await database.fetch("SELECT FROM chat_tombstones")
        assert len(await database.fetch("SELECT FROM chat_events")) == 1
        await let_a_minute_pass(database)
        await janitor.step()
        assert not await database.fetch("SELECT FROM chat_events")
    finally:
        await slow.close()


async def test_expired_rows_anywhere_in_a_large_table_are_found(database: Database) -> None:
    await insert_tombstones(database, 20_000, days=0)
    await insert_tombstones(database, 7_000, days=30)
    janitor = make_janitor(database, Leases(database, worker_id=uuid4()))
    for _ in range(20):
        await janitor.step()
        await let_a_minute_pass(database)
    assert len(await database.fetch("SELECT FROM chat_tombstones")) == 20_000


async def insert_tombstones(database: Database, count: int, *, days: int) -> None:
    await database.fetch(
        "INSERT INTO chat_tombstones (owner_id, chat_id, deleted_at)"
        " SELECT 'ann', gen_random_uuid(), now() - make_interval(days => $2)"
        " FROM generate_series(1, $1)",
        count,
        days,
    )


async def let_a_minute_pass(database: Database) -> None:
    """Age the turns of all tables."""
    await database.fetch("UPDATE chat_sweeps SET taken_at = taken_at - interval '1 minute'")


async def sweeps_of(database: Database) -> dict[str, Mapping[str, Any]]:
    rows = await database.fetch("SELECT * FROM chat_sweeps")
    return {row["table_name"]: dict(row) for row in rows}
