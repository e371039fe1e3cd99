"""Retention of the journal and of parts."""

import asyncio
from uuid import UUID, uuid4

from support.concurrency import insert_chats, row_locked
from support.factories import OWNER, chat_with_status, insert_models
from support.stored_parts import create_and_send, insert_late_parts, stored_batches
from support.sweeps import DAY, delete_expired

from chatd.domain.chat import Status
from chatd.domain.cursor import Cursor
from chatd.store.database import Database
from chatd.store.stream_reads import StreamStore
from chatd.store.sweeps import JOURNAL, PARTS, Sweeps


async def test_stream_resumes_after_what_the_journal_still_has(database: Database) -> None:
    entries = await create_and_send(database, "a", "b", "c")
    chat_id, streams = entries[0].chat_id, StreamStore(database)

    async def resumable() -> list[int]:
        found = []
        for version in range(8):
            update = await streams.updates_after(chat_id, Cursor(version), owner_id=OWNER)
            assert update is not None
            if update.follow_on(Cursor(version)):
                found.append(version)
            assert not update.follow_on(Cursor(version, epoch=1)), "no worker had it"
        return found

    assert await resumable() == [0, 1, 2, 3, 4]
    await database.fetch(
        "UPDATE chat_events SET created_at = created_at - interval '8 days' WHERE version <= 2"
    )
    assert await delete_expired(database, JOURNAL, retention_seconds=7 * DAY) == 2
    assert await resumable() == [2, 3, 4]
    assert await delete_expired(database, JOURNAL, retention_seconds=0.0) == 2
    assert await resumable() == [4], "the end is the version of the chat"
    assert await streams.updates_after(chat_id, Cursor(0), owner_id=None) is not None
    assert await streams.updates_after(chat_id, Cursor(0), owner_id="bob") is None
    assert await streams.updates_after(uuid4(), Cursor(0), owner_id=OWNER) is None


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
    sweeps = []
    while deleted := await delete_expired(database, JOURNAL, retention_seconds=DAY / 2, limit=5):
        sweeps.append(deleted)
        rows = await database.fetch(
            "SELECT array_agg(version ORDER BY version) AS versions FROM chat_events GROUP BY chat_id"
        )
        for row in rows:
            assert row["versions"] == list(range(row["versions"][0], 6))
    assert sweeps == [5, 5, 5]


async def test_journal_swept_by_pages_has_no_gap(database: Database) -> None:
    """Later entries of a chat may be in earlier pages, and a clock that is set back."""
    await insert_models(database)
    ids = await insert_chats(database, 40, Status.WAITING, version=30)
    await database.fetch(
        "INSERT INTO chat_events (chat_id, version, created_at, transition, status, epoch)"
        " SELECT id, v, clock_timestamp() - (40 - v + random() * 3) * interval '1 day', 'send',"
        " 'waiting', 0 FROM unnest($1::uuid[]) AS id, generate_series(1, 30) v ORDER BY random()",
        ids,
    )
    turn = await Sweeps(database).take(JOURNAL, interval_seconds=60)
    assert turn is not None
    assert turn.pages > 5
    for page in range(turn.pages):
        await Sweeps(database).delete_expired(
            JOURNAL, first_page=page, end_page=page + 1, retention_seconds=20 * DAY, limit=5000
        )
        rows = await database.fetch(
            "SELECT array_agg(version ORDER BY version) AS versions FROM chat_events GROUP BY chat_id"
        )
        assert len(rows) == 40
        for row in rows:
            assert row["versions"] == list(range(row["versions"][0], 31))
    assert not await database.fetch(
        "SELECT FROM chat_events WHERE created_at < clock_timestamp() - interval '20 days'"
    )


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
    assert await delete_expired(database, PARTS) == 4
    assert await stored_batches(database) == [(2, 6, 6)]


async def test_prune_does_not_wait_for_a_transition(database: Database) -> None:
    """A transition that deletes its chat's parts may wait for a row that the sweep has locked."""
    chat = await chat_with_status(database, Status.WAITING)
    await insert_late_parts(database, chat, 1, "a")
    await insert_late_parts(database, chat, 2, "b")
    async with row_locked(database, chat) as other, asyncio.timeout(8):
        await other.execute("DELETE FROM chat_parts WHERE first_part = 1")
        assert await delete_expired(database, PARTS) == 1
    assert await stored_batches(database) == []
