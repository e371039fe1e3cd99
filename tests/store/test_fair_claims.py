"""Fair claims: one chat of each owner in each round, and no wait without a bound."""

import random
from uuid import UUID

import pytest
from support.claims import claim_batch, claim_chats
from support.factories import MODEL, OTHER_MODEL, chat_with_status, insert_models, text_content
from support.leases import fencing_token_of, reap

from chatd.domain.chat import Chat, Status
from chatd.store.chats import Chats
from chatd.store.claims import LineBounds
from chatd.store.commands import Release
from chatd.store.database import Database
from chatd.store.turns import Turns

FLOOD = 2_000

INSERT_FLOOD = """
INSERT INTO chats (id, root_chat_id, owner_id, last_model_config_id, status, pending_since, round)
SELECT id, id, 'flood', $1, 'pending', clock_timestamp(), first + n - 1
FROM (SELECT n, gen_random_uuid() AS id, chat_next_round('flood') AS first
      FROM generate_series(1, $2) n) made
"""


async def send(database: Database, owner: str, *, model: UUID = MODEL) -> Chat:
    """Create a pending chat of an owner."""
    created = await Chats(database).create(
        owner_id=owner, model_config_id=model, content=text_content("hello")
    )
    return created.chat


async def rounds_of(database: Database, owner: str) -> list[int]:
    rows = await database.fetch(
        "SELECT round FROM chats WHERE owner_id = $1 AND status = 'pending' ORDER BY round", owner
    )
    return [row["round"] for row in rows]


async def flood(database: Database) -> None:
    """Insert many pending chats of one owner, with the rounds that as many requests give them."""
    await insert_models(database)
    for _ in range(3):
        await send(database, "flood")
    first = await rounds_of(database, "flood")
    assert first == list(range(first[0], first[0] + 3))
    await database.fetch(INSERT_FLOOD, MODEL, FLOOD - 3)
    assert await rounds_of(database, "flood") == list(range(first[0], first[0] + FLOOD))


@pytest.mark.parametrize("seed", range(3))
async def test_light_owner_waits_for_one_chat_of_each_owner(database: Database, seed: int) -> None:
    """Claims of one free slot each, while one owner has 2,000 chats and others send at random."""
    rng = random.Random(seed)
    await flood(database)
    owners = ["flood", "heavy 1", "heavy 2", "heavy 3"]
    for heavy in owners[1:]:
        for _ in range(rng.randrange(5, 40)):
            await send(database, heavy)
    await claim_chats(database, rng.randrange(1, 500))
    waits: list[int] = []
    light: Chat | None = None
    for number in range(150):
        if light is None:
            light, waited = await send(database, "light"), 0
        if rng.random() < 0.5:
            await send(database, rng.choice(owners[1:]))
        (claim,) = await claim_chats(database, 1, oldest_first=number % 8 == 7)
        waited += 1
        if claim.result.chat.id == light.id:
            waits.append(waited)
            light = None
    assert len(waits) > 20
    assert max(waits) <= 2 * len([*owners, "light"])


async def test_flood_gets_every_slot_that_nobody_else_needs(database: Database) -> None:
    await flood(database)
    claims = await claim_chats(database, 50)
    assert len(claims) == 50


async def test_owner_whose_chats_run_gets_the_next_round(database: Database) -> None:
    """Rounds that were claimed do not count: the next chat of this owner is no later than a newcomer's."""
    await insert_models(database)
    for _ in range(20):
        await send(database, "ann")
    await send(database, "bob")
    assert len(await claim_chats(database, 21)) == 21
    ann, cyd = await send(database, "ann"), await send(database, "cyd")
    assert [c.result.chat.id for c in await claim_chats(database, 1)] == [ann.id]
    assert [c.result.chat.id for c in await claim_chats(database, 1)] == [cyd.id]


async def test_rounds_advance_while_newcomers_fill_every_slot(database: Database) -> None:
    """Somebody always waits who has nothing else. The second chat of another owner still has its turn."""
    await insert_models(database)
    await send(database, "ann")
    second = await send(database, "ann")
    claimed: list[UUID] = []
    for number in range(10):
        await send(database, f"newcomer {number}")
        await send(database, f"another {number}")
        claimed += [c.result.chat.id for c in await claim_chats(database, 1)]
    assert second.id in claimed[:6]


async def test_claim_that_takes_the_oldest_ignores_rounds(database: Database) -> None:
    await insert_models(database)
    chats = [await send(database, "ann") for _ in range(3)]
    for number in range(3):
        await send(database, f"newcomer {number}")
    (first,) = await claim_chats(database, 1, oldest_first=True)
    (second,) = await claim_chats(database, 1, oldest_first=True)
    assert [first.result.chat.id, second.result.chat.id] == [chats[0].id, chats[1].id]


async def test_chat_that_comes_back_is_ahead_of_every_new_one(database: Database) -> None:
    await insert_models(database)
    for _ in range(5):
        await send(database, "ann")
    released, reaped, *_ = [c.result.chat for c in await claim_chats(database, 2)]
    await Turns(database).apply(fencing_token_of(released), Release(step=0, reason="shutdown"))
    await send(database, "newcomer")
    await reap(database)
    claims = await claim_chats(database, 2)
    assert {c.result.chat.id for c in claims} == {released.id, reaped.id}


async def test_claim_takes_chats_of_the_given_models(database: Database) -> None:
    await insert_models(database)
    mine = await send(database, "ann")
    others = await send(database, "ann", model=OTHER_MODEL)
    claims = await claim_chats(database, 10, models=(MODEL,))
    assert [c.result.chat.id for c in claims] == [mine.id]
    assert await claim_chats(database, 10, models=()) == []
    claims = await claim_chats(database, 10, models=(MODEL, OTHER_MODEL))
    assert [c.result.chat.id for c in claims] == [others.id]


async def test_lines_of_two_models_are_merged_in_the_order_of_rounds(database: Database) -> None:
    await insert_models(database)
    for _ in range(5):
        await send(database, "ann")
    newcomer = await send(database, "bob", model=OTHER_MODEL)
    claims = await claim_chats(database, 2)
    assert newcomer.id in {c.result.chat.id for c in claims}


async def test_at_most_one_suspect_is_claimed(database: Database) -> None:
    """A chat that lost one worker is none yet. One that lost two is claimed alone."""
    for _ in range(3):
        await chat_with_status(database, Status.PENDING, recoveries=1)
        await chat_with_status(database, Status.PENDING, recoveries=2)
        await chat_with_status(database, Status.PENDING)
    claims = await claim_chats(database, 10)
    assert sorted(c.result.chat.recoveries for c in claims) == [0, 0, 0, 1, 1, 1, 2]
    assert await claim_chats(database, 10, suspects=0) == []
    (claim,) = await claim_chats(database, 10)
    assert claim.result.chat.recoveries == 2


async def test_claim_begins_at_its_bounds(database: Database) -> None:
    await insert_models(database)
    await send(database, "ann")
    later = await send(database, "ann")
    bounds = LineBounds(round=(await rounds_of(database, "ann"))[1])
    batch = await claim_batch(database, 10, bounds=bounds)
    assert [c.result.chat.id for c in batch.claims] == [later.id]
    assert batch.claimed_round == bounds.round


async def test_claim_that_drains_the_line_advances_only_on_request(database: Database) -> None:
    await insert_models(database)
    rounds = [(await claim_batch(database, 10)).claimed_round]
    for limit, advance in ((10, False), (10, True), (1, False)):
        await send(database, "ann")
        batch = await claim_batch(database, limit, advance=advance)
        assert len(batch.claims) == 1
        rounds.append(batch.claimed_round)
    assert rounds[0] == rounds[1] < rounds[2] < rounds[3]


async def test_locked_chats_are_passed_by(database: Database) -> None:
    await insert_models(database)
    chats = [await send(database, f"owner {number}") for number in range(10)]
    async with database.dedicated_connection() as other, other.transaction():
        await other.execute(
            "SELECT FROM chats WHERE id = ANY($1) FOR UPDATE", [chat.id for chat in chats[:9]]
        )
        batch = await claim_batch(database, 1)
    assert [c.result.chat.id for c in batch.claims] == [chats[9].id]
    assert batch.candidates_left
