"""Recoveries and attempts of a chat whose workers die: counted, reset by progress, and limited."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from support.claims import claim_chats, make_due
from support.factories import OWNER, WORKER, chat_with_status, insert_worker, text_content
from support.leases import LEASE, age_heartbeat, fencing_token_of, reap

from chatd.domain.chat import Status
from chatd.domain.errors import LeaseLost
from chatd.domain.outcomes import ReapReason
from chatd.store.chats import Chats
from chatd.store.commands import CommitStep, FinishTurn, RecordRetry
from chatd.store.database import Database
from chatd.store.reaps import Reaps, ReapTarget
from chatd.store.records import TransitionResult
from chatd.store.turns import Turns


async def test_repeated_record_retry_counts_once(database: Database) -> None:
    """The first response was lost, and the worker repeats the command."""
    chat = await chat_with_status(database, Status.RUNNING)
    turns = Turns(database)
    command: dict[str, Any] = {"step": 0, "attempts": 1, "settled_part": 0, "failure": {}}
    await turns.apply(fencing_token_of(chat), RecordRetry(delay_seconds=1.0, **command))
    with pytest.raises(LeaseLost):
        await turns.apply(fencing_token_of(chat), RecordRetry(delay_seconds=1.0, **command))
    lease = await turns.current(chat.id)
    assert lease is not None
    assert (lease.attempts, lease.version) == (1, 2)


async def test_chat_that_kills_its_workers_fails_as_a_crash_loop(database: Database) -> None:
    chat = await chat_with_status(database, Status.PENDING)
    await insert_worker(database, WORKER)
    for death in range(1, 4):
        await claim_chats(database, 1)
        (result,) = await reap(database)
        assert (result.chat.status, result.chat.recoveries) == (Status.PENDING, death)
        assert result.chat.last_error is None
    await claim_chats(database, 1)
    (result,) = await reap(database)
    assert result.chat.id == chat.id
    assert result.chat.status is Status.ERROR
    assert result.chat.last_error == "chat given up: its worker died 4 times without progress"
    assert result.chat.last_error_detail is not None
    assert result.chat.last_error_detail["kind"] == "crash_loop"
    assert result.chat.last_error_detail["message"] == result.chat.last_error
    assert set(result.chat.last_error_detail) == {
        "kind", "message", "provider", "model", "status_code", "retryable", "attempts", "at"
    }  # fmt: skip
    assert result.entry is not None
    assert result.entry.data["last_error_detail"] == result.chat.last_error_detail
    assert result.chat.recoveries == 0
    again = await Chats(database).send(chat.id, owner_id=OWNER, content=text_content("again"))
    assert again.chat.status is Status.PENDING
    assert again.chat.last_error is None


async def test_progress_resets_recoveries(database: Database) -> None:
    """A committed step resets the count. A recorded retry does not."""
    await chat_with_status(database, Status.PENDING)
    await insert_worker(database, WORKER)
    turns = Turns(database)
    for step in range(6):
        (claim,) = await claim_chats(database, 1)
        await turns.apply(
            fencing_token_of(claim.result.chat), CommitStep(step=step, messages=[], settled_part=0)
        )
        (result,) = await reap(database, max_recoveries=1)
        assert (result.chat.status, result.chat.recoveries) == (Status.PENDING, 1)
    (claim,) = await claim_chats(database, 1)
    await turns.apply(
        fencing_token_of(claim.result.chat),
        RecordRetry(
            step=6,
            attempts=1,
            delay_seconds=50,
            settled_part=0,
            failure={},
        ),
    )
    (result,) = await reap(database, max_recoveries=1)
    assert result.chat.status is Status.ERROR


async def lose_by_lease(database: Database, worker_id: UUID) -> TransitionResult:
    """Have a worker claim the only chat and lose it because its lease is over."""
    await insert_worker(database, worker_id)
    await database.fetch("UPDATE workers SET lock_proved = false")
    await age_heartbeat(database, worker_id, 0)
    await claim_chats(database, 1, worker_id=worker_id, suspects=1)
    await age_heartbeat(database, worker_id, LEASE + 1)
    (result,) = await reap(database)
    assert result.entry is not None
    assert result.entry.data["reason"] == "lease_expired"
    return result


async def test_expired_leases_of_workers_that_come_back_are_no_recoveries(
    database: Database,
) -> None:
    """They were frozen, or cut off from the database for longer than a lease."""
    await chat_with_status(database, Status.PENDING)
    worker_ids = [uuid4() for _ in range(6)]
    for worker_id in worker_ids:
        result = await lose_by_lease(database, worker_id)
        assert (result.chat.status, result.chat.recoveries) == (Status.PENDING, 0)
        await age_heartbeat(database, worker_id, -1)  # it is back


async def test_expired_lease_counts_once_the_worker_has_not_come_back(database: Database) -> None:
    """Behind a transaction pooler no lock tells: a chat that kills its workers fails all the same."""
    await chat_with_status(database, Status.PENDING)
    for deaths_before in range(4):
        result = await lose_by_lease(database, uuid4())
        assert (result.chat.status, result.chat.recoveries) == (Status.PENDING, deaths_before)
    result = await lose_by_lease(database, uuid4())
    assert result.chat.status is Status.ERROR
    assert result.chat.last_error == "chat given up: its worker died 4 times without progress"


async def test_proved_death_counts_once(database: Database) -> None:
    """The lease of the next worker is over. That is no second death of the one before."""
    await chat_with_status(database, Status.PENDING)
    await insert_worker(database, WORKER)
    await claim_chats(database, 1)
    (result,) = await reap(database)
    assert result.chat.recoveries == 1
    assert (await lose_by_lease(database, uuid4())).chat.recoveries == 1


async def test_lapsed_worker_that_claims_again_has_come_back(database: Database) -> None:
    await chat_with_status(database, Status.PENDING)
    for _ in range(3):
        result = await lose_by_lease(database, WORKER)
        assert result.chat.recoveries == 0


async def test_progress_makes_a_lapsed_worker_irrelevant(database: Database) -> None:
    await chat_with_status(database, Status.PENDING)
    await lose_by_lease(database, uuid4())
    await insert_worker(database, WORKER)
    await age_heartbeat(database, WORKER, 0)
    (claim,) = await claim_chats(database, 1)
    await Turns(database).apply(
        fencing_token_of(claim.result.chat), CommitStep(step=0, messages=[], settled_part=0)
    )
    (result,) = await reap(database)
    assert result.chat.recoveries == 1, "of the worker that died now"


@pytest.mark.parametrize(
    ("reason", "counted"), [(ReapReason.ABANDONED, True), (ReapReason.NO_TASK, False)]
)
async def test_chat_that_its_worker_gives_up(
    database: Database, reason: ReapReason, counted: bool
) -> None:
    """A task that does not end is the chat's doing. A claim whose response was lost is not."""
    chat = await chat_with_status(database, Status.RUNNING)
    target = ReapTarget(WORKER, reason, chat_id=chat.id, epoch=chat.epoch)
    (result,) = await Reaps(database, worker_id=WORKER).reap([target], max_recoveries=3)
    assert result.chat.recoveries == counted


async def test_reaped_chat_is_not_claimed_before_its_next_attempt_is_due(
    database: Database,
) -> None:
    await chat_with_status(database, Status.PENDING)
    (claim,) = await claim_chats(database, 1)
    await Turns(database).apply(
        fencing_token_of(claim.result.chat),
        RecordRetry(step=0, attempts=1, delay_seconds=500, settled_part=0, failure={}),
    )
    (result,) = await reap(database)
    assert result.chat.attempts == 1
    assert await claim_chats(database, 1) == []
    await make_due(database)
    (claim,) = await claim_chats(database, 1)
    assert claim.result.chat.attempts == 1
    assert claim.turn_seconds_left is None, "its turn begins anew"


async def test_chat_that_kills_its_workers_takes_no_neighbour_along(database: Database) -> None:
    """Every worker claims what it may, and dies if the chat is among it. The others are finished."""
    poison = await chat_with_status(database, Status.PENDING)
    neighbours = [await chat_with_status(database, Status.PENDING) for _ in range(5)]
    turns = Turns(database)
    await insert_worker(database, WORKER)
    for _ in range(20):
        claimed = [claim.result.chat for claim in await claim_chats(database, 10)]
        if poison.id in {chat.id for chat in claimed}:
            await reap(database)
            continue
        for chat in claimed:
            await turns.apply(
                fencing_token_of(chat), FinishTurn(step=0, messages=[], settled_part=0)
            )
    rows = await database.fetch("SELECT id, status FROM chats")
    statuses = {row["id"]: row["status"] for row in rows}
    assert statuses.pop(poison.id) == "error"
    assert statuses == {chat.id: "waiting" for chat in neighbours}
