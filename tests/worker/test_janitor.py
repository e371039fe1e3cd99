"""Janitor: expired rows are deleted, and nothing else."""

from uuid import uuid4

from support.actors import make_janitor
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
    assert await janitor.step() is False
    versions = await fetch_rows(
        database, "SELECT version FROM chat_events WHERE chat_id = $1 ORDER BY version", chat.id
    )
    assert [row["version"] for row in versions] == [4, 5]
    left = await fetch_rows(database, "SELECT chat_id, epoch FROM chat_parts")
    assert [(row["chat_id"], row["epoch"]) for row in left] == [(running.id, 1)]
    workers = {
        row["worker_id"] for row in await fetch_rows(database, "SELECT worker_id FROM workers")
    }
    assert workers == {leases.worker_id, owning}
    assert len(await fetch_rows(database, "SELECT FROM chat_tombstones")) == 2
    assert await keys.lookup(old) is None
    stored = await keys.lookup(fresh)
    assert stored is not None
    assert stored["title"] == "fresh"
    again = await chats.describe(idle.id, owner_id=OWNER, title="fresh", key=fresh)
    assert again.chat.version == stored["version"], "it was applied twice"


async def one_model(database: Database) -> object:
    return (await fetch_rows(database, "SELECT id FROM chat_model_configs LIMIT 1"))[0]["id"]


async def test_newest_journal_entry_of_an_old_chat_stays(database: Database) -> None:
    """Without it, a cursor at the end of the journal could not be told from one that is too old."""
    await insert_models(database)
    chats = Chats(database)
    chat = (await chats.create(owner_id=OWNER, model_config_id=(await one_model(database)))).chat
    await chats.describe(chat.id, owner_id=OWNER, title="x")
    await database.fetch(
        "UPDATE chat_events SET created_at = clock_timestamp() - interval '1 year'"
    )
    leases = Leases(database, worker_id=uuid4())
    await make_janitor(database, leases).step()
    [left] = await fetch_rows(database, "SELECT version FROM chat_events")
    assert left["version"] == 2
