"""Flusher: streamed parts are stored in batches, and only while they matter."""

from uuid import uuid4

from support.actors import make_flusher, recording_change_bus
from support.eventually import eventually
from support.factories import (
    chat_with_status,
)
from support.in_process import fetch_rows, running_daemon
from support.providers import scripted

from chatd.domain.chat import Status
from chatd.fanout.hub import ChatHub
from chatd.store.database import Database
from chatd.store.stream_reads import PartBatch, StreamStore


async def test_one_statement_flushes_all_chats(database: Database) -> None:
    change_bus, hints = recording_change_bus()
    hub = ChatHub(subscriber_buffer=100)
    flusher = make_flusher(database, change_bus)
    chats = [await chat_with_status(database, Status.RUNNING) for _ in range(5)]
    previews = []
    for chat in chats:
        preview = hub.start_step(chat.id, epoch=chat.epoch, base=chat.settled_part)
        flusher.track(chat.id, preview)
        previews.append(preview)
    before = database.statement_count
    await flusher.step()
    assert database.statement_count == before  # nothing to flush, no statement
    for chat, preview in zip(chats, previews, strict=True):
        for n in range(3):
            hub.publish_part(chat.id, preview, {"index": 0, "type": "text", "text": str(n)})
    await flusher.step()
    assert database.statement_count == before + 1
    assert len(hints) == 5
    await flusher.step()
    assert database.statement_count == before + 1
    hub.publish_part(chats[0].id, previews[0], {"index": 0, "type": "text", "text": "3"})
    await flusher.step()
    stored = await fetch_rows(
        database,
        "SELECT first_part, last_part FROM chat_parts WHERE chat_id = $1 ORDER BY 1",
        chats[0].id,
    )
    assert [(row["first_part"], row["last_part"]) for row in stored] == [(1, 3), (4, 4)]
    for chat in chats:
        flusher.untrack(chat.id, epoch=chat.epoch - 1)
        assert chat.id in flusher._steps
        flusher.untrack(chat.id, epoch=chat.epoch)
    hub.publish_part(chats[0].id, previews[0], {"index": 0, "type": "text", "text": "4"})
    before = database.statement_count
    await flusher.step()
    assert database.statement_count == before


async def test_flush_of_an_outdated_step_stores_nothing(database: Database) -> None:
    streams = StreamStore(database)
    part = [{"index": 0, "type": "text", "text": "late"}]
    chat = await chat_with_status(database, Status.RUNNING, epoch=2, settled_part=5)
    await streams.flush_parts([PartBatch(chat.id, 1, 1, part)])  # an older epoch
    await streams.flush_parts([PartBatch(chat.id, 2, 5, part)])  # settled already
    idle = await chat_with_status(database, Status.WAITING)
    await streams.flush_parts([PartBatch(idle.id, 0, 1, part), PartBatch(uuid4(), 1, 1, part)])
    assert await fetch_rows(database, "SELECT * FROM chat_parts") == []
    await streams.flush_parts([PartBatch(chat.id, 2, 6, part)])
    assert len(await fetch_rows(database, "SELECT * FROM chat_parts")) == 1


async def test_short_turns_are_never_flushed(dsn: str, database: Database) -> None:
    async with running_daemon(dsn, stream={"flush_interval_seconds": 30}) as chatd:
        for _ in range(20):
            chat = await chatd.api.create("hello")
            await chatd.api.wait_for_status(chat["id"], "waiting")
        # Inserted rows, also those deleted since, count; sessions report them when they end.
    inserted = "SELECT n_tup_ins AS n FROM pg_stat_user_tables WHERE relname = 'chat_parts'"
    [stored] = await fetch_rows(database, inserted)
    assert stored["n"] == 0


async def test_many_bytes_are_flushed_before_the_interval(dsn: str, database: Database) -> None:
    provider = scripted(big=[{"text": "x" * 5000, "chunks": 5}, {"hang": True}])
    async with running_daemon(
        dsn, provider, stream={"flush_interval_seconds": 600, "flush_bytes": 4096}
    ) as chatd:
        await chatd.api.create("[[big]]")
        await eventually(lambda: fetch_rows(database, "SELECT * FROM chat_parts"))
