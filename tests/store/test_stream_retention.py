"""Retention of the journal and of parts."""

import asyncio
from uuid import UUID, uuid4

from support.concurrency import insert_chats, row_locked
from support.factories import OWNER, chat_with_status, insert_models
from support.stored_parts import create_and_send, insert_late_parts, stored_batches

from chatd.domain.chat import Status
from chatd.domain.cursor import Cursor
from chatd.store.database import Database
from chatd.store.stream_reads import StreamStore


async def test_resumable_range_is_what_the_journal_still_has(database: Database) -> None:
    entries = await create_and_send(database, "a", "b", "c")
    chat_id, streams = entries[0].chat_id, StreamStore(database)

    async def resumable() -> list[int]:
        span = await streams.resumable_range(chat_id, owner_id=OWNER)
        assert span is not None
        return [version for version in range(8) if span.contains(Cursor(version))]

    assert await resumable() == [0, 1, 2, 3, 4]
    await database.fetch(
        "UPDATE chat_events SET created_at = created_at - interval '8 days' WHERE version <= 2"
    )
    assert await streams.prune_journal(retention_days=7.0) == 2
    assert await resumable() == [2, 3, 4]
    assert await streams.prune_journal(retention_days=0.0) == 1
    assert await resumable() == [3, 4], "the newest row is kept, as the edge"
    await database.fetch("DELETE FROM chat_events")
    assert await resumable() == [4]
    assert await streams.resumable_range(chat_id, owner_id="bob") is None
    assert await streams.resumable_range(uuid4(), owner_id=OWNER) is None


async def test_pruned_journal_has_no_gap(database: Database) -> None:
    """A limited sweep leaves no gap either, in any order of the rows on disk."""
    await insert_models(database)
    ids = await insert_chats(database, 3, Status.WAITING, version=5)
    for version in (5, 2, 4, 1, 3):  # the order on disk
        await database.fetch(
            "INSERT INTO chat_events (chat_id, version, created_at, transition, status, epoch)"
            " SELECT id, $2::bigint, clock_timestamp() - interval '1 day' + $2 * interval '1 second',"
            " 'send', 'waiting', 0 FROM unnest($1::uuid[]) AS id",
            ids,
            version,
        )
    await database.fetch(
        "ANALYZE chats, chat_events"
    )  # without statistics the plan may read the rows in order by chance
    streams = StreamStore(database)
    sweeps = []
    while deleted := await streams.prune_journal(retention_days=0.5, limit=5):
        sweeps.append(deleted)
        rows = await database.fetch(
            "SELECT array_agg(version ORDER BY version) AS versions FROM chat_events GROUP BY chat_id"
        )
        for row in rows:
            assert row["versions"] == list(range(row["versions"][0], 6))
    assert sweeps == [5, 5, 2]


async def test_parts_that_no_step_will_settle_are_pruned(database: Database) -> None:
    chat = await chat_with_status(database, Status.RUNNING, epoch=2, settled_part=5)
    idle = await chat_with_status(database, Status.WAITING, epoch=2)
    await insert_late_parts(database, chat, 9, "an older epoch", epoch=1)
    await insert_late_parts(database, chat, 5, "settled", epoch=2)
    await insert_late_parts(database, chat, 6, "live", epoch=2)
    await insert_late_parts(database, idle, 1, "no worker has it", epoch=2)
    await database.fetch(
        "INSERT INTO chat_parts VALUES ($1, 1, 1, 1, '[{}]')", UUID(int=7)  # of a deleted chat
    )  # fmt: skip
    streams = StreamStore(database)
    assert await streams.prune_parts(limit=1) == 1
    assert await streams.prune_parts() == 3
    assert await stored_batches(database) == [(2, 6, 6)]


async def test_prune_does_not_wait_for_a_transition(database: Database) -> None:
    """A transition that deletes its chat's parts may wait for a row that the sweep has locked."""
    chat = await chat_with_status(database, Status.WAITING)
    await insert_late_parts(database, chat, 1, "a")
    await insert_late_parts(database, chat, 2, "b")
    async with row_locked(database, chat) as other, asyncio.timeout(8):
        await other.execute("DELETE FROM chat_parts WHERE first_part = 1")
        assert await StreamStore(database).prune_parts() == 1
    assert await stored_batches(database) == []
