"""Claims and concurrent reapers: each chat is taken once, the longest pending first."""

import random
from typing import Any
from uuid import UUID, uuid4

from support.claims import claim_chats
from support.concurrency import gather_all, insert_chats, row_locked
from support.factories import WORKER, chat_with_status, insert_models, insert_worker
from support.leases import REAPER, age_heartbeat, reap, reap_targets

from chatd.domain.chat import Status
from chatd.store.claims import Claim
from chatd.store.database import Database
from chatd.store.reaps import Reaps
from chatd.store.records import TransitionResult


async def insert_pending_in_order(database: Database, count: int, **more: Any) -> list[UUID]:
    """Insert pending chats, in no order of ids or rows. Return their ids, the longest pending first."""
    ids = await insert_chats(database, count, Status.PENDING, **more)
    random.Random(5).shuffle(ids)
    await database.fetch(
        "UPDATE chats SET pending_since = pending_since + n * interval '1 second'"
        " FROM unnest($1::uuid[]) WITH ORDINALITY AS pending (chat_id, n) WHERE id = chat_id",
        ids,
    )
    await database.fetch(
        "ANALYZE chats"
    )  # without statistics the plan may read the rows in order by chance
    return ids


async def test_each_pending_chat_is_claimed_once_in_order(wide: Database) -> None:
    chat_ids = await insert_pending_in_order(wide, 200, epoch=4)
    position_of = {chat_id: number for number, chat_id in enumerate(chat_ids)}

    async def claim_all(worker_id: UUID) -> list[list[Claim]]:
        batches: list[list[Claim]] = []
        while await wide.fetch("SELECT FROM chats WHERE status = 'pending' LIMIT 1"):
            batches.append(await claim_chats(wide, 7, worker_id=worker_id))
        return batches

    workers = [uuid4() for _ in range(8)]
    taken = await gather_all(*map(claim_all, workers))
    claims = [claim for batches in taken for batch in batches for claim in batch]
    assert {claim.result.chat.id for claim in claims} == set(chat_ids)
    assert len(claims) == 200
    assert {claim.result.chat.epoch for claim in claims} == {5}
    for worker_id, batches in zip(workers, taken, strict=True):
        assert {c.result.chat.worker_id for batch in batches for c in batch} <= {worker_id}
        assert all(len(batch) <= 7 for batch in batches)
        positions = [
            sorted(position_of[claim.result.chat.id] for claim in batch) for batch in batches
        ]
        flat = [number for batch in positions for number in batch]
        assert flat == sorted(flat), "longest waiting first"
    assert sum(any(batches) for batches in taken) > 1, "they claimed concurrently"


async def test_claim_takes_the_longest_pending_chats(database: Database) -> None:
    await insert_models(database)
    chat_ids = await insert_pending_in_order(database, 30)
    for start in range(0, 30, 10):
        claims = await claim_chats(database, 10)
        assert {claim.result.chat.id for claim in claims} == set(chat_ids[start : start + 10])
    assert await claim_chats(database, 10) == []


async def test_claim_skips_locked_chats(database: Database) -> None:
    first = await chat_with_status(database, Status.PENDING)
    second = await chat_with_status(database, Status.PENDING)
    async with row_locked(database, first):
        (claim,) = await claim_chats(database, 2)
    assert claim.result.chat.id == second.id


async def test_four_reapers_reap_each_chat_once(wide: Database) -> None:
    orphaned = [
        chat_id
        for n in range(3)
        for chat_id in await insert_chats(wide, 20, Status.RUNNING, worker_id=UUID(int=n + 1))
    ]
    await age_heartbeat(wide, UUID(int=1), 3600)

    async def reap_all(worker_id: UUID) -> list[TransitionResult]:
        found: list[TransitionResult] = []
        while await wide.fetch("SELECT FROM chats WHERE worker_id IS NOT NULL LIMIT 1"):
            found += await reap(wide, reaper=worker_id, limit=7)
        return found

    reaped = [
        result
        for each in await gather_all(*(reap_all(uuid4()) for _ in range(4)))
        for result in each
    ]
    assert sorted(result.chat.id for result in reaped) == sorted(orphaned)
    assert {result.chat.recoveries for result in reaped} == {0, 1}, (
        "an expired lease proves no death"
    )
    assert {result.chat.version for result in reaped} == {2}


async def test_chat_claimed_before_the_reap_is_not_reaped(database: Database) -> None:
    """The reaper's snapshot has a dead owner. By the time it locks the row, another worker has it."""
    dead = UUID(int=1)
    chat = await chat_with_status(database, Status.RUNNING, worker_id=dead)
    await insert_worker(database, WORKER)
    targets = await reap_targets(database)
    assert [each.worker_id for each in targets] == [dead]
    async with row_locked(database, chat) as other:
        await other.execute(
            "UPDATE chats SET worker_id = $2, epoch = epoch + 1 WHERE id = $1", chat.id, WORKER
        )
        reaps = Reaps(database, worker_id=REAPER)
        assert await reaps.reap(targets, max_recoveries=3) == []
    assert await reaps.reap(targets, max_recoveries=3) == []
