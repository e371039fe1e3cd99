"""Reaping: chats are taken from workers that have lost their lock or let the lease expire."""

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import pytest
from support.claims import claim_chats
from support.concurrency import insert_chats, row_locked
from support.factories import WORKER, chat_with_status, insert_models
from support.leases import LEASE, REAPER, age_heartbeat, fencing_token_of, reap, worker_lock_held

from chatd.domain.chat import Chat, Status
from chatd.domain.errors import LeaseLost
from chatd.store.commands import CommitStep, FinishInterrupt, FinishTurn
from chatd.store.database import Database
from chatd.store.leases import Leases
from chatd.store.records import TransitionResult
from chatd.store.turns import Turns


async def age_past_server_start(database: Database, chat: Chat) -> None:
    """Make a chat's last heartbeat older than this server, which is younger than the lease.

    The server of the tests may have run for longer than any lease, so the caller
    has to use a lease that reaches back to before the server's start.
    """
    await database.fetch(
        "UPDATE chats SET heartbeat_at = pg_postmaster_start_time() - interval '1 second'"
        " WHERE id = $1",
        chat.id,
    )


async def test_worker_without_its_lock_is_reaped_at_once(database: Database) -> None:
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
    chat = await chat_with_status(database, Status.RUNNING)
    interrupting = await chat_with_status(database, Status.INTERRUPTING)
    await age_past_server_start(database, chat)
    await age_past_server_start(database, interrupting)
    leases = Leases(database, worker_id=REAPER)
    row = await database.fetchrow(
        "SELECT EXTRACT(EPOCH FROM clock_timestamp() - heartbeat_at)::float8 AS age FROM chats"
    )
    assert row is not None
    unexpired, expired = row["age"] + 3600.0, row["age"] / 2
    assert await leases.reap(lease_seconds=unexpired, max_recoveries=3) == []
    assert await leases.orphaned_interrupts(lease_seconds=unexpired) == []
    (result,) = await leases.reap(lease_seconds=expired, max_recoveries=3)
    assert result.entry is not None
    assert result.entry.data["reason"] == "lease_expired"
    (orphan,) = await leases.orphaned_interrupts(lease_seconds=expired)
    assert orphan.fence == fencing_token_of(interrupting)


async def test_heartbeat_since_the_restart_makes_the_lock_evidence_again(
    database: Database,
) -> None:
    old = await chat_with_status(database, Status.RUNNING)
    await age_past_server_start(database, old)
    await chat_with_status(database, Status.RUNNING)  # the same worker has renewed since
    assert len(await reap(database)) == 2


async def test_expired_lease_is_reaped_although_the_lock_is_held(database: Database) -> None:
    stale = await chat_with_status(database, Status.RUNNING)
    fresh = await chat_with_status(database, Status.RUNNING)
    await age_heartbeat(database, stale, LEASE + 1)
    await age_heartbeat(database, fresh, LEASE - 5)
    async with worker_lock_held(database, WORKER):
        (result,) = await reap(database)
        assert result.chat.id == stale.id
        assert result.entry is not None
        assert result.entry.data["reason"] == "lease_expired"


@pytest.mark.parametrize("status", [Status.RUNNING, Status.INTERRUPTING])
async def test_reaper_ignores_the_lock_of_its_own_worker(
    database: Database, status: Status
) -> None:
    """The reaper's own process may be about to take its lock again. Only an expired lease counts."""
    chat = await chat_with_status(database, status)
    own = Leases(database, worker_id=WORKER)
    assert await own.reap(lease_seconds=LEASE, max_recoveries=3) == []
    assert await own.orphaned_interrupts(lease_seconds=LEASE) == []
    await age_heartbeat(database, chat, LEASE + 1)
    found = [
        *[result.chat.id for result in await own.reap(lease_seconds=LEASE, max_recoveries=3)],
        *[orphan.fence.chat_id for orphan in await own.orphaned_interrupts(lease_seconds=LEASE)],
    ]
    assert found == [chat.id]


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.RUNNING])
async def test_only_running_chats_are_reaped(database: Database, status: Status) -> None:
    await chat_with_status(database, status)
    leases = Leases(database, worker_id=REAPER)
    assert await leases.reap(lease_seconds=-1.0, max_recoveries=3) == []
    orphans = await leases.orphaned_interrupts(lease_seconds=-1.0)
    assert len(orphans) == (status is Status.INTERRUPTING)


async def test_reap_is_limited_per_statement(database: Database) -> None:
    await insert_models(database)
    await insert_chats(database, 7, Status.RUNNING)
    leases = Leases(database, worker_id=REAPER)
    counts = [
        len(await leases.reap(lease_seconds=LEASE, max_recoveries=3, limit=3)) for _ in range(4)
    ]
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
