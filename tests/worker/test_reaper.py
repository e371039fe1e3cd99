"""Reaper: chats of dead workers, crash loops and orphaned interrupts."""

from typing import Any
from uuid import uuid4

import pytest
from structlog.testing import capture_logs
from support.actors import LEASE_SECONDS, make_reaper, recording_change_bus
from support.factories import WORKER, chat_with_status
from support.in_process import fetch_rows
from support.leases import age_heartbeat, worker_lock_held

from chatd.domain.chat import Status
from chatd.domain.hint import Hint
from chatd.domain.outcomes import ReapReason
from chatd.store.database import Database
from chatd.store.leases import Leases
from chatd.store.reaps import Reaps
from chatd.store.stream_reads import PartBatch, StreamStore
from chatd.worker.reaper import Reaper
from chatd.worker.unheld_chats import UnheldChats
from chatd.worker.witness import SECONDS_BETWEEN_LOOKS


class Clock:
    """Clock of a reaper's looks, which the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def reaper(database: Database, **more: Any) -> tuple[Reaper, list[Hint]]:
    change_bus, hints = recording_change_bus()
    return make_reaper(database, change_bus, **more), hints


async def test_reaper_takes_chats_of_expired_leases_and_leaves_others(database: Database) -> None:
    aged = await chat_with_status(database, Status.RUNNING)
    await age_heartbeat(database, WORKER, LEASE_SECONDS + 1)
    fresh = await chat_with_status(database, Status.RUNNING, worker_id=uuid4())
    reap, hints = reaper(database)
    assert await reap.step() is True
    assert await reap.step() is False
    [one_row] = await fetch_rows(database, "SELECT * FROM chats WHERE id = $1", aged.id)
    assert (one_row["status"], one_row["worker_id"]) == ("pending", None)
    assert one_row["last_error"] is None
    assert [hint.chat_id for hint in hints] == [aged.id]
    [other] = await fetch_rows(database, "SELECT status FROM chats WHERE id = $1", fresh.id)
    assert other["status"] == "running"


async def test_free_lock_is_a_death_only_in_two_looks(database: Database) -> None:
    clock = Clock()
    reap, _ = reaper(database, clock=clock)
    chat = await chat_with_status(database, Status.RUNNING)
    assert not await reap.step(), "one look proves nothing"
    clock.now += SECONDS_BETWEEN_LOOKS / 2
    assert not await reap.step(), "nor does one that comes too soon"
    clock.now += SECONDS_BETWEEN_LOOKS
    assert await reap.step()
    [entry] = await fetch_rows(database, "SELECT data FROM chat_events WHERE chat_id = $1", chat.id)
    assert (entry["data"]["reason"], entry["data"]["recoveries"]) == ("worker_dead", 1)


async def test_heartbeat_between_two_looks_is_a_sign_of_life(database: Database) -> None:
    """The worker is about to take its lock again, and has already renewed its lease."""
    clock = Clock()
    reap, _ = reaper(database, clock=clock)
    await chat_with_status(database, Status.RUNNING)
    for _ in range(5):
        assert not await reap.step()
        clock.now += 2 * SECONDS_BETWEEN_LOOKS
        async with database.dedicated_connection() as connection:
            await Leases(database, worker_id=WORKER).renew(connection)


async def test_lock_that_is_held_between_is_a_sign_of_life(database: Database) -> None:
    """Its connection is lost again and again, and it takes its lock again each time."""
    clock = Clock()
    reap, _ = reaper(database, clock=clock)
    await chat_with_status(database, Status.RUNNING)
    for _ in range(3):
        assert not await reap.step()
        clock.now += 2 * SECONDS_BETWEEN_LOOKS
        async with worker_lock_held(database, WORKER) as connection:
            assert not await reap.step()
            clock.now += 2 * SECONDS_BETWEEN_LOOKS
            await connection.fetchval("SELECT pg_advisory_unlock_all()::text")


async def test_looks_begin_again_once_this_process_has_its_own_lock_back(
    database: Database,
) -> None:
    """PostgreSQL has ended all sessions: this process is the first of several to be back."""
    clock, own_lock = Clock(), True
    reap, _ = reaper(database, clock=clock, sees_locks=lambda: own_lock)
    await chat_with_status(database, Status.RUNNING)
    assert not await reap.step()
    clock.now += 2 * SECONDS_BETWEEN_LOOKS
    own_lock = False
    assert not await reap.step(), "free locks do not count now"
    own_lock = True
    clock.now += 2 * SECONDS_BETWEEN_LOOKS
    assert not await reap.step(), "the first look"
    clock.now += 1.1 * SECONDS_BETWEEN_LOOKS
    assert await reap.step()


@pytest.mark.parametrize("own_lock", [True, False])
async def test_look_does_not_count_if_the_own_lock_was_free_before_or_after_it(
    database: Database, monkeypatch: pytest.MonkeyPatch, own_lock: bool
) -> None:
    clock, held = Clock(), True
    reap, _ = reaper(database, clock=clock, sees_locks=lambda: held)
    await chat_with_status(database, Status.RUNNING)
    assert not await reap.step()
    clock.now += 2 * SECONDS_BETWEEN_LOOKS
    look, held = Reaps.look, own_lock

    async def change_meanwhile(reaps: Reaps, **values: Any) -> Any:
        nonlocal held
        held = not held
        return await look(reaps, **values)

    monkeypatch.setattr(Reaps, "look", change_meanwhile)
    assert not await reap.step()


async def test_chat_without_a_task_is_given_back_by_its_own_worker(database: Database) -> None:
    running = await chat_with_status(database, Status.RUNNING)
    stopping = await chat_with_status(database, Status.INTERRUPTING)
    busy = await chat_with_status(database, Status.RUNNING)
    unheld = UnheldChats()
    for chat in (running, stopping):
        unheld.add((chat.id, chat.epoch), ReapReason.NO_TASK, now=1.0)
    reap, _ = reaper(database, worker_id=WORKER, unheld=unheld)
    assert not await reap.step(), "not before a renewal has shown that it is still leased"
    async with database.dedicated_connection() as connection:
        renewed = await Leases(database, worker_id=WORKER).renew(connection)
    assert renewed is not None
    unheld.observe(renewed.chats, held={(busy.id, busy.epoch)}, sent_at=2.0)
    assert await reap.step()
    rows = await fetch_rows(database, "SELECT id, status, recoveries FROM chats")
    assert {row["id"]: (row["status"], row["recoveries"]) for row in rows} == {
        running.id: ("pending", 0),
        stopping.id: ("waiting", 0),
        busy.id: ("running", 0),
    }


async def test_chat_with_too_many_recoveries_fails_as_a_crash_loop(database: Database) -> None:
    clock = Clock()
    reap, _ = reaper(database, clock=clock)
    await chat_with_status(database, Status.RUNNING, recoveries=3)
    await reap.step()
    clock.now += 1
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
    await age_heartbeat(database, WORKER, LEASE_SECONDS + 1)
    parts = [{"index": 0, "type": "text", "text": t} for t in ("one ", "two ", "lost")]
    streams = StreamStore(database)
    await streams.flush_parts([PartBatch(chat.id, chat.epoch, 1, parts[:2])])
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
