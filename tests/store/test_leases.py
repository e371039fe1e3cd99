"""Owning chats: who is alive, who is gone, and what becomes of what the dead had in hand."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from support.concurrency import insert_chats, row_locked, wait_until_blocked
from support.factories import (
    MODEL,
    OWNER,
    REGISTRATION,
    WORKER,
    chat_with_status,
    insert_models,
    register_worker,
    text_content,
)

from chatd.domain.chat import Chat, Status
from chatd.domain.errors import LeaseLost
from chatd.domain.message import NewMessage, Role
from chatd.store.chats import Chats
from chatd.store.commands import (
    CommitStep,
    FinishInterrupt,
    FinishTurn,
    ReapInterrupt,
    RecordRetry,
    Release,
)
from chatd.store.database import Connection, Database
from chatd.store.leases import ActivityReport, Leases, Renewal
from chatd.store.records import TransitionResult
from chatd.store.stream_reads import PartBatch, StreamStore
from chatd.store.turns import FencingToken, Turns

REAPER = UUID("00000000-0000-4000-8000-00000000dead")
LEASE = 20.0


def fence_of(chat: Chat) -> FencingToken:
    assert chat.worker_id is not None
    return FencingToken(chat.id, chat.worker_id, chat.epoch)


async def reap(
    database: Database, *, reaper: UUID = REAPER, most: int = 3
) -> list[TransitionResult]:
    leases = Leases(database, worker_id=reaper)
    return await leases.reap(lease_seconds=LEASE, max_recoveries=most)


async def age(database: Database, chat: Chat, seconds: float) -> None:
    """Make a chat's last beat that old."""
    await database.fetch(
        "UPDATE chats SET heartbeat_at = clock_timestamp() - make_interval(secs => $2)"
        " WHERE id = $1",
        chat.id,
        seconds,
    )


async def age_past_server_start(database: Database, chat: Chat) -> None:
    """Make a chat's last beat older than this server, which is younger than the lease.

    The server of the tests may have run for longer than any lease, so the lease is what gives way:
    the caller has to use one that reaches back to before the server's start.
    """
    await database.fetch(
        "UPDATE chats SET heartbeat_at = pg_postmaster_start_time() - interval '1 second'"
        " WHERE id = $1",
        chat.id,
    )


@asynccontextmanager
async def alive(database: Database, worker_id: UUID) -> AsyncIterator[Connection]:
    """Hold the lock of a worker on a connection of its own."""
    async with database.dedicated_connection() as connection:
        assert await Leases(database, worker_id=worker_id).try_worker_lock(connection)
        yield connection


# -- who is gone -------------------------------------------------------------------------------------


async def test_worker_without_its_lock_is_reaped_at_once(database: Database) -> None:
    chat = await chat_with_status(database, Status.RUNNING)
    async with alive(database, WORKER):
        assert await reap(database) == []
    (moved,) = await until_reaped(database)
    assert moved.chat.id == chat.id
    assert moved.chat.status is Status.PENDING
    assert moved.chat.pending_since == chat.started_at
    assert moved.entry is not None
    assert moved.entry.data["reason"] == "worker_dead"
    assert moved.entry.worker_id == REAPER


async def until_reaped(database: Database) -> Sequence[TransitionResult]:
    """Reap until something was: the server frees the lock of a cut connection when it notices."""
    while not (reaped := await reap(database)):
        pass
    return reaped


async def test_checking_a_lock_does_not_keep_it(database: Database) -> None:
    await chat_with_status(database, Status.RUNNING)
    assert len(await reap(database)) == 1
    async with alive(database, WORKER):
        pass


async def test_workers_have_different_locks(database: Database) -> None:
    await chat_with_status(database, Status.RUNNING, worker_id=WORKER)
    other = await chat_with_status(database, Status.RUNNING, worker_id=uuid4())
    async with alive(database, WORKER):
        assert [moved.chat.id for moved in await reap(database)] == [other.id]


async def test_lock_cannot_be_held_by_two_sessions(database: Database) -> None:
    async with alive(database, WORKER), database.dedicated_connection() as second:
        assert not await Leases(database, worker_id=WORKER).try_worker_lock(second)
        assert await Leases(database, worker_id=REAPER).try_worker_lock(second)


async def test_free_lock_after_a_server_restart_is_no_evidence(database: Database) -> None:
    """It freed every lock; an owner that has not renewed since then has its lease's time."""
    chat = await chat_with_status(database, Status.RUNNING)
    interrupting = await chat_with_status(database, Status.INTERRUPTING)
    await age_past_server_start(database, chat)
    await age_past_server_start(database, interrupting)
    leases = Leases(database, worker_id=REAPER)
    beat = await database.fetchrow(
        "SELECT EXTRACT(EPOCH FROM clock_timestamp() - heartbeat_at)::float8 AS age FROM chats"
    )
    assert beat is not None
    patient, stale = beat["age"] + 3600.0, beat["age"] / 2
    assert await leases.reap(lease_seconds=patient, max_recoveries=3) == []
    assert await leases.orphaned_interrupts(lease_seconds=patient) == []
    (moved,) = await leases.reap(lease_seconds=stale, max_recoveries=3)
    assert moved.entry is not None
    assert moved.entry.data["reason"] == "lease_expired"
    (abandoned,) = await leases.orphaned_interrupts(lease_seconds=stale)
    assert abandoned.fence == fence_of(interrupting)


async def test_heartbeat_since_the_restart_makes_the_lock_evidence_again(
    database: Database,
) -> None:
    old = await chat_with_status(database, Status.RUNNING)
    await age_past_server_start(database, old)
    await chat_with_status(database, Status.RUNNING)  # the same owner, renewed
    assert len(await reap(database)) == 2


async def test_expired_lease_is_reaped_although_the_lock_is_held(database: Database) -> None:
    stale = await chat_with_status(database, Status.RUNNING)
    fresh = await chat_with_status(database, Status.RUNNING)
    await age(database, stale, LEASE + 1)
    await age(database, fresh, LEASE - 5)
    async with alive(database, WORKER):
        (moved,) = await reap(database)
        assert moved.chat.id == stale.id
        assert moved.entry is not None
        assert moved.entry.data["reason"] == "lease_expired"


@pytest.mark.parametrize("status", [Status.RUNNING, Status.INTERRUPTING])
async def test_reaper_ignores_the_lock_of_its_own_worker(
    database: Database, status: Status
) -> None:
    """The reaper's process may be about to take its lock again; its lease counts all the same."""
    chat = await chat_with_status(database, status)
    own = Leases(database, worker_id=WORKER)
    assert await own.reap(lease_seconds=LEASE, max_recoveries=3) == []
    assert await own.orphaned_interrupts(lease_seconds=LEASE) == []
    await age(database, chat, LEASE + 1)
    found = [
        *[moved.chat.id for moved in await own.reap(lease_seconds=LEASE, max_recoveries=3)],
        *[one.fence.chat_id for one in await own.orphaned_interrupts(lease_seconds=LEASE)],
    ]
    assert found == [chat.id]


@pytest.mark.parametrize("status", [one for one in Status if one is not Status.RUNNING])
async def test_only_running_chats_are_reaped(database: Database, status: Status) -> None:
    await chat_with_status(database, status)
    leases = Leases(database, worker_id=REAPER)
    assert await leases.reap(lease_seconds=-1.0, max_recoveries=3) == []
    abandoned = await leases.orphaned_interrupts(lease_seconds=-1.0)
    assert len(abandoned) == (status is Status.INTERRUPTING)


async def test_reap_is_limited_per_statement(database: Database) -> None:
    await insert_models(database)
    await insert_chats(database, 7, Status.RUNNING)
    leases = Leases(database, worker_id=REAPER)
    taken = [
        len(await leases.reap(lease_seconds=LEASE, max_recoveries=3, limit=3)) for _ in range(4)
    ]
    assert taken == [3, 3, 1, 0]


async def test_reaped_worker_writes_nothing(database: Database) -> None:
    chat = await chat_with_status(database, Status.RUNNING)
    await reap(database)
    turns = Turns(database)
    said: dict[str, Any] = {"step": 0, "messages": [], "settled_part": 0}
    for command in (CommitStep, FinishTurn, FinishInterrupt):
        with pytest.raises(LeaseLost):
            await turns.apply(fence_of(chat), command(**said))
    (claim,) = await Leases(database, worker_id=WORKER).claim(1)
    with pytest.raises(LeaseLost):  # the same process again, but an epoch later
        await turns.apply(fence_of(chat), CommitStep(**said))
    await turns.apply(fence_of(claim.result.chat), CommitStep(**said))


async def test_stale_session_of_the_worker_is_terminated(database: Database) -> None:
    """The network swallowed the end of a connection, and the server still has its session."""
    leases = Leases(database, worker_id=WORKER)
    async with alive(database, WORKER), alive(database, REAPER) as other:
        async with database.dedicated_connection() as connection:
            await leases.terminate_stale_session(connection)
            while not await leases.try_worker_lock(connection):
                pass
            await leases.terminate_stale_session(connection)
            assert await connection.fetchval("SELECT true"), "not its own session"
        assert await other.fetchval("SELECT true"), "nor another worker's"


async def test_session_inside_a_statement_is_not_terminated(
    database: Database,
) -> None:
    chat = await chat_with_status(database, Status.RUNNING)
    leases = Leases(database, worker_id=WORKER)
    async with alive(database, WORKER) as busy, database.dedicated_connection() as connection:
        async with row_locked(database, chat) as blocker:
            statement = asyncio.create_task(
                busy.fetchval("SELECT true FROM chats WHERE id = $1 FOR UPDATE", chat.id)
            )
            await wait_until_blocked(blocker)
            await leases.terminate_stale_session(connection)
        assert await statement


# -- crash loops ---------------------------------------------------------------------------------------


async def test_chat_that_kills_its_workers_fails_as_a_crash_loop(database: Database) -> None:
    chat = await chat_with_status(database, Status.PENDING)
    leases = Leases(database, worker_id=WORKER)
    for death in range(1, 4):
        await leases.claim(1)
        (moved,) = await reap(database)
        assert (moved.chat.status, moved.chat.recoveries) == (Status.PENDING, death)
        assert moved.chat.last_error is None
    await leases.claim(1)
    (moved,) = await reap(database)
    assert moved.chat.id == chat.id
    assert moved.chat.status is Status.ERROR
    assert moved.chat.last_error == "chat given up: its worker died 4 times without progress"
    assert moved.chat.last_error_detail is not None
    assert moved.chat.last_error_detail["kind"] == "crash_loop"
    assert moved.chat.last_error_detail["message"] == moved.chat.last_error
    assert set(moved.chat.last_error_detail) == {
        "kind", "message", "provider", "model", "status_code", "retryable", "attempts", "at"
    }  # fmt: skip
    assert moved.entry is not None
    assert moved.entry.data["last_error_detail"] == moved.chat.last_error_detail
    assert moved.chat.recoveries == 0
    again = await Chats(database).send(chat.id, owner_id=OWNER, content=text_content("again"))
    assert again.chat.status is Status.PENDING
    assert again.chat.last_error is None


async def test_progress_resets_recoveries(database: Database) -> None:
    """A committed step starts the count afresh; a retry that was recorded does not."""
    await chat_with_status(database, Status.PENDING)
    leases, turns = Leases(database, worker_id=WORKER), Turns(database)
    for step in range(6):
        (claim,) = await leases.claim(1)
        await turns.apply(
            fence_of(claim.result.chat), CommitStep(step=step, messages=[], settled_part=0)
        )
        (moved,) = await reap(database, most=1)
        assert (moved.chat.status, moved.chat.recoveries) == (Status.PENDING, 1)
    (claim,) = await leases.claim(1)
    await turns.apply(
        fence_of(claim.result.chat),
        RecordRetry(
            step=6,
            attempts=1,
            delay_seconds=50,
            settled_part=0,
            failure={},
        ),
    )
    (moved,) = await reap(database, most=1)
    assert moved.chat.status is Status.ERROR


async def test_backoff_outlives_the_worker(database: Database) -> None:
    await chat_with_status(database, Status.PENDING)
    leases, turns = Leases(database, worker_id=WORKER), Turns(database)
    (claim,) = await leases.claim(1)
    assert claim.next_attempt_in_seconds == 0.0
    await turns.apply(
        fence_of(claim.result.chat),
        RecordRetry(
            step=0,
            attempts=1,
            delay_seconds=500,
            settled_part=0,
            failure={},
        ),
    )
    (moved,) = await reap(database)
    assert moved.chat.attempts == 1
    (claim,) = await leases.claim(1)
    assert 400 < claim.next_attempt_in_seconds <= 500
    assert claim.result.chat.attempts == 1


# -- interrupted, and then the owner died ----------------------------------------------------------------


async def flush(database: Database, chat: Chat, first: int, *parts: dict[str, Any]) -> None:
    await StreamStore(database).flush_parts([PartBatch(chat.id, chat.epoch, first, parts)])


def said(words: str, index: int = 0) -> dict[str, Any]:
    return {"index": index, "type": "text", "text": words}


async def test_flushed_parts_of_a_dead_worker_are_stored(database: Database) -> None:
    """Text and reasoning stand by themselves; a half-made tool call does not."""
    chat = await chat_with_status(database, Status.INTERRUPTING, settled_part=10, committed_steps=4)
    thought = {"index": 0, "type": "reasoning", "text": "hm"}
    call = {"index": 2, "type": "tool-call", "tool_call_id": "a", "tool_name": "f", "args": "{"}
    await flush(database, chat, 11, thought, said("Hel", 1))
    await flush(database, chat, 13, said("lo", 1), call)
    leases = Leases(database, worker_id=REAPER)
    (one,) = await leases.orphaned_interrupts(lease_seconds=LEASE)
    assert one.fence == fence_of(chat)
    assert (one.command.step, one.command.settled_part) == (4, 14)
    moved = await Turns(database).apply(one.fence, one.command)
    assert moved.chat.status is Status.WAITING
    assert moved.chat.worker_id is None
    assert moved.entry is not None
    (message,) = moved.entry.messages
    assert message.content == (
        {"type": "reasoning", "text": "hm"},
        {"type": "text", "text": "Hello"},
    )
    assert message.finish_reason == "interrupted"
    assert message.model_config_id == MODEL
    assert await database.fetch("SELECT FROM chat_parts") == []


async def test_overlapping_batches_are_joined_up_to_a_gap(database: Database) -> None:
    """A flush whose answer was cut off is said again, longer; a crash of the server loses the first."""
    chat = await chat_with_status(database, Status.INTERRUPTING)
    await flush(database, chat, 1, said("a"), said("b"))
    await flush(database, chat, 1, said("a"), said("b"), said("c"))
    await flush(database, chat, 5, said("e"))
    (one,) = await Leases(database, worker_id=REAPER).orphaned_interrupts(lease_seconds=LEASE)
    assert [message.content for message in one.command.messages] == [text_content("abc")]
    assert one.command.settled_part == 5


@pytest.mark.parametrize("parts", [(), ({"index": 0, "type": "tool-call", "args": "{"},)])
async def test_interrupt_without_storable_parts_stores_no_message(
    database: Database, parts: tuple[dict[str, Any], ...]
) -> None:
    chat = await chat_with_status(database, Status.INTERRUPTING, queued=1)
    if parts:
        await flush(database, chat, 1, *parts)
    (one,) = await Leases(database, worker_id=REAPER).orphaned_interrupts(lease_seconds=LEASE)
    assert one.command.messages == ()
    moved = await Turns(database).apply(
        one.fence, ReapInterrupt(step=0, messages=(), settled_part=0)
    )
    assert moved.chat.status is Status.PENDING
    assert moved.entry is not None
    assert [message.role for message in moved.entry.messages] == [Role.USER]


async def test_parts_of_an_earlier_epoch_are_not_stored(database: Database) -> None:
    chat = await chat_with_status(database, Status.INTERRUPTING, epoch=3)
    await database.fetch(
        "INSERT INTO chat_parts (chat_id, epoch, first_part, last_part, parts) VALUES ($1, 2, 1, 1, $2)",
        chat.id,
        [said("old")],
    )
    (one,) = await Leases(database, worker_id=REAPER).orphaned_interrupts(lease_seconds=LEASE)
    assert one.command.messages == ()


async def test_worker_that_finished_first_wins_over_the_reaper(database: Database) -> None:
    chat = await chat_with_status(database, Status.INTERRUPTING)
    await flush(database, chat, 1, said("half"))
    (one,) = await Leases(database, worker_id=REAPER).orphaned_interrupts(lease_seconds=LEASE)
    whole = NewMessage(role=Role.ASSISTANT, content=text_content("whole"))
    turns = Turns(database)
    await turns.apply(fence_of(chat), FinishInterrupt(step=0, messages=[whole], settled_part=2))
    with pytest.raises(LeaseLost):
        await turns.apply(one.fence, replace(one.command, settled_part=1))
    assert [message.content for message in await turns.history(chat.id)][1:] == [
        text_content("whole")
    ]


# -- renewing, releasing ---------------------------------------------------------------------------------


async def test_renew_returns_the_leases_that_are_still_held(database: Database) -> None:
    running = await chat_with_status(database, Status.RUNNING, epoch=3)
    stopping = await chat_with_status(database, Status.INTERRUPTING)
    forgotten = await chat_with_status(database, Status.RUNNING)
    others = await chat_with_status(database, Status.RUNNING, worker_id=REAPER)
    ended = await chat_with_status(database, Status.WAITING)
    for chat in (running, stopping, forgotten, others):
        await age(database, chat, 10)
    leases = Leases(database, worker_id=WORKER)
    await register_worker(database, leases)
    await database.fetch("UPDATE workers SET heartbeat_at = heartbeat_at - interval '1 hour'")
    in_hand = [ActivityReport(chat.id, chat.epoch) for chat in (running, stopping, others, ended)]
    async with database.dedicated_connection() as connection:
        beats = await leases.renew(connection, REGISTRATION, in_hand)
        assert set(beats) == {
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
    assert ages == {running.id: True, stopping.id: True, forgotten.id: False, others.id: False}
    assert await database.fetch(
        "SELECT FROM workers WHERE heartbeat_at > clock_timestamp() - interval '5 seconds'"
    )
    assert {chat.id for chat in await leases.leased_chats()} == {
        running.id,
        stopping.id,
        forgotten.id,
    }


async def test_released_chat_keeps_its_pending_since(database: Database) -> None:
    first = await chat_with_status(database, Status.PENDING)
    leases, turns = Leases(database, worker_id=WORKER), Turns(database)
    (claim,) = await leases.claim(1)
    second = await chat_with_status(database, Status.PENDING)
    moved = await turns.apply(fence_of(claim.result.chat), Release(step=0, reason="shutdown"))
    assert moved.chat.status is Status.PENDING
    assert moved.chat.pending_since == claim.result.chat.started_at
    assert (moved.chat.attempts, moved.chat.recoveries, moved.chat.last_error) == (0, 0, None)
    assert [c.result.chat.id for c in await leases.claim(1)] == [first.id]
    assert [c.result.chat.id for c in await leases.claim(1)] == [second.id]


async def test_reaped_chat_keeps_its_pending_since(database: Database) -> None:
    first = await chat_with_status(database, Status.RUNNING)
    second = await chat_with_status(database, Status.PENDING)
    await reap(database)
    leases = Leases(database, worker_id=WORKER)
    assert [c.result.chat.id for c in await leases.claim(1)] == [first.id]
    assert [c.result.chat.id for c in await leases.claim(1)] == [second.id]


async def test_heartbeat_updates_are_hot(database: Database) -> None:
    """No index knows what it writes, so beats are HOT: they bloat neither table nor indexes."""
    await insert_models(database)
    ids = await insert_chats(database, 40, Status.RUNNING)
    doing = [ActivityReport(chat_id, 1, "model stream", 1.0, 59.0) for chat_id in ids]
    leases = Leases(database, worker_id=WORKER)
    await register_worker(database, leases)
    async with database.dedicated_connection() as connection:

        async def beat(times: int) -> dict[str, tuple[int, int]]:
            """All updates so far, and the HOT ones, by table."""
            for _ in range(times):
                assert len(await leases.renew(connection, REGISTRATION, doing)) == 40
            await connection.execute("SELECT pg_stat_force_next_flush()")
            await connection.execute("SELECT pg_stat_clear_snapshot()")
            rows = await connection.fetch(
                "SELECT relname, n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables"
                " WHERE relname IN ('chats', 'workers')"
            )
            return {row[0]: (row[1], row[2]) for row in rows}

        first, then = await beat(20), await beat(100)
    for table, updates in {"chats": 4000, "workers": 100}.items():
        assert then[table][0] - first[table][0] == updates
        assert then[table][1] - first[table][1] >= 0.99 * updates
    # A chat that says for the first time what it does is longer than before, and may have to move once.
    assert first["chats"][0] - first["chats"][1] <= 80


# -- the list of workers ---------------------------------------------------------------------------------


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
    assert await listed(database) == {owner, fresh}
    await leases.deregister()
    assert await listed(database) == {owner}


async def listed(database: Database) -> set[UUID]:
    return {row["worker_id"] for row in await database.fetch("SELECT worker_id FROM workers")}


async def test_reaper_skips_a_locked_chat(database: Database) -> None:
    chat = await chat_with_status(database, Status.RUNNING)
    async with row_locked(database, chat):
        assert await reap(database) == []
    assert len(await reap(database)) == 1
