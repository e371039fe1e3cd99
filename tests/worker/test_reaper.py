"""Reaper: chats of dead workers, crash loops and orphaned interrupts."""

from uuid import uuid4

import asyncpg
import pytest
from structlog.testing import capture_logs
from support.actors import make_reaper, recording_change_bus
from support.factories import (
    chat_with_status,
)
from support.in_process import fetch_rows

from chatd.domain.chat import Status
from chatd.domain.hint import Hint
from chatd.store.database import Database
from chatd.store.stream_reads import PartBatch, StreamStore
from chatd.worker.reaper import Reaper


def reaper(database: Database) -> tuple[Reaper, list[Hint]]:
    change_bus, hints = recording_change_bus()
    return make_reaper(database, change_bus), hints


AGED = "UPDATE chats SET heartbeat_at = clock_timestamp() - interval '21 seconds' WHERE id = $1"


async def test_reaper_takes_aged_chats_and_leaves_renewed_ones(
    database: Database, dsn: str
) -> None:
    """The aged worker holds no lock, as after a restart of the server."""
    aged = await chat_with_status(database, Status.RUNNING)
    await database.fetch(AGED, aged.id)
    fresh = await chat_with_status(database, Status.RUNNING, worker_id=uuid4())
    reap, hints = reaper(database)
    holder = await asyncpg.connect(dsn)
    try:
        await holder.execute(
            "SELECT pg_advisory_lock(hashtextextended($1, 0))", str(fresh.worker_id)
        )
        assert await reap.step() is True
        assert await reap.step() is False
    finally:
        await holder.close()
    [one_row] = await fetch_rows(database, "SELECT * FROM chats WHERE id = $1", aged.id)
    assert (one_row["status"], one_row["worker_id"], one_row["recoveries"]) == ("pending", None, 1)
    assert one_row["last_error"] is None
    assert [hint.chat_id for hint in hints] == [aged.id]
    [other] = await fetch_rows(database, "SELECT status FROM chats WHERE id = $1", fresh.id)
    assert other["status"] == "running"
    assert await reap.step() is True  # its lock is free now
    [event] = await fetch_rows(
        database, "SELECT data FROM chat_events WHERE chat_id = $1", fresh.id
    )
    assert event["data"]["reason"] == "worker_dead"


async def test_chat_with_too_many_recoveries_fails_as_a_crash_loop(database: Database) -> None:
    reap, _ = reaper(database)
    chat = await chat_with_status(database, Status.RUNNING, recoveries=3)
    await database.fetch(AGED, chat.id)
    with capture_logs() as logged:
        await reap.step()
    [row] = await fetch_rows(database, "SELECT * FROM chats")
    assert row["status"] == "error"
    assert row["last_error_detail"]["kind"] == "crash_loop"
    assert row["last_error"]
    [line] = logged
    [event] = await fetch_rows(database, "SELECT data FROM chat_events")
    assert (line["event"], line["recoveries"]) == ("chat.crash_loop", 4)
    assert line["reason"] == event["data"]["reason"]


@pytest.mark.parametrize("queued", [0, 1])
async def test_orphaned_interrupt_stores_what_was_flushed(database: Database, queued: int) -> None:
    reap, hints = reaper(database)
    chat = await chat_with_status(database, Status.INTERRUPTING, queued=queued)
    parts = [{"index": 0, "type": "text", "text": t} for t in ("one ", "two ", "lost")]
    streams = StreamStore(database)
    await streams.flush_parts([PartBatch(chat.id, chat.epoch, 1, parts[:2])])
    await database.fetch(AGED, chat.id)
    await reap.step()
    stored = await fetch_rows(
        database, "SELECT role, content, finish_reason FROM chat_messages ORDER BY id"
    )
    assert stored[1]["content"] == [{"type": "text", "text": "one two "}]
    assert stored[1]["finish_reason"] == "interrupted"
    [row] = await fetch_rows(database, "SELECT * FROM chats")
    assert (row["status"], row["queue_length"]) == (("pending", 0) if queued else ("waiting", 0))
    assert await fetch_rows(database, "SELECT * FROM chat_parts") == []
    assert [hint.status for hint in hints] == [Status.PENDING if queued else Status.WAITING]
