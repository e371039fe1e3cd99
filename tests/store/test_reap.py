"""Reaping: chats are taken from workers that have lost their lock or let the lease expire."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import pytest
from support.claims import claim_chats
from support.concurrency import insert_chats, row_locked
from support.factories import WORKER, chat_with_status, insert_models, insert_tool_calls
from support.leases import (
    LEASE,
    REAPER,
    age_heartbeat,
    fencing_token_of,
    orphaned_interrupts,
    reap,
    reap_targets,
    worker_lock_held,
)

from chatd.domain.chat import Status
from chatd.domain.errors import LeaseLost
from chatd.domain.outcomes import ReapReason
from chatd.domain.tool_call_errors import CANCELLED
from chatd.store.commands import CommitStep, FinishInterrupt, FinishTurn
from chatd.store.database import Database
from chatd.store.leases import Leases
from chatd.store.reaps import Reaps, ReapTarget
from chatd.store.records import TransitionResult
from chatd.store.stream_reads import PartBatch, StreamStore
from chatd.store.turns import Turns


async def age_past_server_start(database: Database, worker_id: UUID) -> None:
    """Make a worker's last heartbeat older than this server, which is younger than the lease.

    The server of the tests may have run for longer than any lease, so the caller
    has to use a lease that reaches back to before the server's start.
    """
    await database.fetch(
        "UPDATE workers SET heartbeat_at = pg_postmaster_start_time() - interval '1 second'"
        " WHERE worker_id = $1",
        worker_id,
    )


async def test_worker_without_its_lock_is_dead(database: Database) -> None:
    chat = await chat_with_status(database, Status.RUNNING)
    async with worker_lock_held(database, WORKER):
        assert await reap(database) == []
    (result,) = await reap_until_found(database)
    assert result.chat.id == chat.id
    assert result.chat.status is Status.PENDING
    assert result.chat.pending_since == chat.started_at
    assert result.entry is not None
    assert result.entry.data["reason"] == "worker_dead"
    assert result.entry.worker_id == REAPER


async def reap_until_found(database: Database) -> Sequence[TransitionResult]:
    """Reap until a chat was reaped: the server frees the lock of a cut connection with a delay."""
    while not (reaped := await reap(database)):
        pass
    return reaped


async def test_checking_a_lock_does_not_keep_it(database: Database) -> None:
    await chat_with_status(database, Status.RUNNING)
    assert len(await reap(database)) == 1
    async with worker_lock_held(database, WORKER):
        pass


async def test_workers_have_different_locks(database: Database) -> None:
    await chat_with_status(database, Status.RUNNING, worker_id=WORKER)
    other = await chat_with_status(database, Status.RUNNING, worker_id=uuid4())
    async with worker_lock_held(database, WORKER):
        assert [result.chat.id for result in await reap(database)] == [other.id]


async def test_free_lock_after_a_server_restart_is_no_evidence(database: Database) -> None:
    """The restart frees every lock. A worker that has not renewed since keeps its lease until expiry."""
    await chat_with_status(database, Status.RUNNING)
    interrupting = await chat_with_status(database, Status.INTERRUPTING)
    await age_past_server_start(database, WORKER)
    row = await database.fetchrow(
        "SELECT EXTRACT(EPOCH FROM clock_timestamp() - heartbeat_at)::float8 AS age FROM workers"
    )
    assert row is not None
    unexpired, expired = row["age"] + 3600.0, row["age"] / 2
    assert await reap(database, lease_seconds=unexpired) == []
    assert await orphaned_interrupts(database, lease_seconds=unexpired) == []
    (orphan,) = await orphaned_interrupts(database, lease_seconds=expired)
    assert orphan.fence == fencing_token_of(interrupting)
    (result,) = await reap(database, lease_seconds=expired)
    assert result.entry is not None
    assert result.entry.data["reason"] == "lease_expired"


async def test_free_lock_that_was_never_proved_is_no_evidence(database: Database) -> None:
    """Behind a transaction pooler nobody can tell whose session holds a lock."""
    await chat_with_status(database, Status.RUNNING)
    await database.fetch("UPDATE workers SET lock_proved = false")
    assert await reap(database) == []
    await age_heartbeat(database, WORKER, LEASE + 1)
    (result,) = await reap(database)
    assert result.entry is not None
    assert result.entry.data["reason"] == "lease_expired"


async def test_interrupt_of_a_dead_worker_keeps_what_its_tools_had_put_out(
    database: Database,
) -> None:
    chat = await chat_with_status(database, Status.INTERRUPTING)
    await insert_tool_calls(database, chat.id, "c1", "c2", "c3", state="started")
    base = {"type": "tool-progress"}
    parts = [
        {**base, "index": 0, "tool_call_id": "c1", "text": "one "},
        {**base, "index": 1, "tool_call_id": "c2", "progress": 1, "message": "page 1"},
        {**base, "index": 0, "tool_call_id": "c1", "text": "two"},
        {**base, "index": 2, "tool_call_id": "c3", "progress": 1},
    ]
    await StreamStore(database).flush_parts([PartBatch(chat.id, chat.epoch, 1, parts)])
    (orphan,) = await orphaned_interrupts(database, lease_seconds=-1.0)
    result = await Turns(database).apply(orphan.fence, orphan.command)
    assert result.chat.status is Status.WAITING
    (message,) = result.messages
    words = CANCELLED["other"]
    assert [part["result"] for part in message.content] == [
        f"{words} Output so far:\none two",
        f"{words} Output so far:\npage 1",
        words,
    ]


async def test_lease_is_the_workers_and_not_the_chats(database: Database) -> None:
    """A chat's own heartbeat only says when its task last made progress."""
    quiet = await chat_with_status(database, Status.RUNNING)
    other = await chat_with_status(database, Status.RUNNING, worker_id=uuid4())
    assert other.worker_id is not None
    await database.fetch(
        "UPDATE chats SET heartbeat_at = clock_timestamp() - interval '1 hour' WHERE id = $1",
        quiet.id,
    )
    await age_heartbeat(database, other.worker_id, LEASE + 1)
    async with worker_lock_held(database, WORKER):
        assert [result.chat.id for result in await reap(database)] == [other.id]


async def test_expired_lease_is_reaped_although_the_lock_is_held(database: Database) -> None:
    await chat_with_status(database, Status.RUNNING)
    async with worker_lock_held(database, WORKER):
        await age_heartbeat(database, WORKER, LEASE - 5)
        assert await reap(database) == []
        await age_heartbeat(database, WORKER, LEASE + 1)
        (result,) = await reap(database)
        assert result.entry is not None
        assert result.entry.data["reason"] == "lease_expired"


@pytest.mark.parametrize("status", [Status.RUNNING, Status.INTERRUPTING])
async def test_worker_that_renewed_since_the_look_is_not_reaped(
    database: Database, status: Status
) -> None:
    await chat_with_status(database, status)
    targets = await reap_targets(database)
    assert len(targets) == 1
    async with database.dedicated_connection() as connection:
        await Leases(database, worker_id=WORKER).renew(connection)
    reaps = Reaps(database, worker_id=REAPER)
    assert await reaps.reap(targets, max_recoveries=3) == []
    assert await reaps.orphaned_interrupts(targets) == []


@pytest.mark.parametrize("status", [Status.RUNNING, Status.INTERRUPTING])
async def test_reaper_ignores_the_lock_of_its_own_worker(
    database: Database, status: Status
) -> None:
    """The reaper's own process may be about to take its lock again. Only an expired lease counts."""
    chat = await chat_with_status(database, status)
    assert await reap(database, reaper=WORKER) == []
    assert await orphaned_interrupts(database, reaper=WORKER) == []
    await age_heartbeat(database, WORKER, LEASE + 1)
    found = [
        *[result.chat.id for result in await reap(database, reaper=WORKER)],
        *[o.fence.chat_id for o in await orphaned_interrupts(database, reaper=WORKER)],
    ]
    assert found == [chat.id]


async def test_worker_gives_up_one_chat_of_its_own(database: Database) -> None:
    """Its lease is good and its other chats stay. A newer epoch of the chat is not given up."""
    given_up, kept, newer = [await chat_with_status(database, Status.RUNNING) for _ in range(3)]
    targets = [
        ReapTarget(WORKER, ReapReason.ABANDONED, chat_id=chat.id, epoch=epoch)
        for chat, epoch in ((given_up, given_up.epoch), (newer, newer.epoch - 1))
    ]
    (result,) = await Reaps(database, worker_id=WORKER).reap(targets, max_recoveries=3)
    assert (result.chat.id, result.chat.status) == (given_up.id, Status.PENDING)
    assert result.entry is not None
    assert result.entry.data["reason"] == "abandoned"
    rows = await database.fetch("SELECT id FROM chats WHERE worker_id = $1", WORKER)
    assert {row["id"] for row in rows} == {kept.id, newer.id}


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.RUNNING])
async def test_only_running_chats_are_reaped(database: Database, status: Status) -> None:
    await chat_with_status(database, status)
    assert await reap(database, lease_seconds=-1.0) == []
    orphans = await orphaned_interrupts(database, lease_seconds=-1.0)
    assert len(orphans) == (status is Status.INTERRUPTING)


async def test_reap_is_limited_per_statement(database: Database) -> None:
    await insert_models(database)
    await insert_chats(database, 7, Status.RUNNING)
    counts = [len(await reap(database, limit=3)) for _ in range(4)]
    assert counts == [3, 3, 1, 0]


async def test_reaped_worker_writes_nothing(database: Database) -> None:
    chat = await chat_with_status(database, Status.RUNNING)
    await reap(database)
    turns = Turns(database)
    step: dict[str, Any] = {"step": 0, "messages": [], "settled_part": 0}
    for command in (CommitStep, FinishTurn, FinishInterrupt):
        with pytest.raises(LeaseLost):
            await turns.apply(fencing_token_of(chat), command(**step))
    (claim,) = await claim_chats(database, 1)
    with pytest.raises(LeaseLost):  # the same worker, but a later epoch
        await turns.apply(fencing_token_of(chat), CommitStep(**step))
    await turns.apply(fencing_token_of(claim.result.chat), CommitStep(**step))


async def test_reaped_chat_keeps_its_pending_since(database: Database) -> None:
    first = await chat_with_status(database, Status.RUNNING)
    second = await chat_with_status(database, Status.PENDING)
    await reap(database)
    assert [c.result.chat.id for c in await claim_chats(database, 1)] == [first.id]
    assert [c.result.chat.id for c in await claim_chats(database, 1)] == [second.id]


async def test_reaper_skips_a_locked_chat(database: Database) -> None:
    chat = await chat_with_status(database, Status.RUNNING)
    async with row_locked(database, chat):
        assert await reap(database) == []
    assert len(await reap(database)) == 1
