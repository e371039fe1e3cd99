"""Limit of an owner's running chats: chats beyond it are held, and admitted as others end."""

import random
from collections.abc import Callable
from contextlib import suppress
from uuid import UUID, uuid4

import pytest
from structlog.testing import capture_logs
from support.claims import claim_chats, make_due
from support.concurrency import gather_all
from support.factories import MODEL, OWNER, chat_with_status, insert_models, text_content
from support.leases import fencing_token_of
from support.transitions import REQUIRED_ACTION, first_edited

from chatd.domain.chat import BusyBehavior, Chat, Status
from chatd.domain.errors import LeaseLost
from chatd.store.chats import Chats
from chatd.store.claims import Claim, Claims
from chatd.store.commands import Defer, Fail, FinishTurn, RequireAction
from chatd.store.commits import CommitListener
from chatd.store.database import Database
from chatd.store.limits import ChatLimits
from chatd.store.messages import Messages
from chatd.store.pending import PendingChats
from chatd.store.turns import Turns
from chatd.store.worker_command import WorkerCommand

LIMIT = 2


def limits(most: int = LIMIT) -> Callable[[], ChatLimits]:
    return lambda: ChatLimits(max_running_per_owner=most)


async def send(database: Database, *, owner: str = OWNER, most: int = LIMIT) -> Chat:
    """Create a pending chat."""
    created = await Chats(database, limits=limits(most)).create(
        owner_id=owner, model_config_id=MODEL, content=text_content("hello")
    )
    return created.chat


async def held_ids(database: Database) -> set[UUID]:
    return {row["id"] for row in await database.fetch("SELECT id FROM chats WHERE held")}


async def admit_held(database: Database, *, most: int = LIMIT) -> int:
    """Sweep until no more chat is admitted. Return the number of those that were."""
    pending = PendingChats(database, worker_id=uuid4(), limits=limits(most))
    count = 0
    while (result := await pending.admit_held()).count:
        count += result.count
    return count


async def test_chats_beyond_the_limit_are_held_and_not_claimed(database: Database) -> None:
    await insert_models(database)
    chats = [await send(database) for _ in range(5)]
    other = await send(database, owner="bob")
    assert await held_ids(database) == {chat.id for chat in chats[LIMIT:]}
    claims = await claim_chats(database, 10)
    assert {c.result.chat.id for c in claims} == {chats[0].id, chats[1].id, other.id}
    assert (await send(database)).id in await held_ids(database), "running chats count"


ENDS: dict[str, WorkerCommand] = {
    "finish": FinishTurn(step=0, messages=[], settled_part=0),
    "fail": Fail(step=0, last_error="no", last_error_detail={}, settled_part=0),
    "require_action": RequireAction(**REQUIRED_ACTION),
    "defer": Defer(
        step=0, attempts=1, delay_seconds=60.0, settled_part=0, failure={}, remaining_seconds=600.0
    ),
}


@pytest.mark.parametrize("end", ENDS)
async def test_turn_that_ends_lets_the_next_chat_go(database: Database, end: str) -> None:
    await insert_models(database)
    admitted_ids: list[UUID] = []
    listener = CommitListener(on_admit=lambda chat_id, *_: admitted_ids.append(chat_id))
    turns = Turns(database, limits=limits(), listener=listener)
    chats = [await send(database) for _ in range(5)]
    for claim in await claim_chats(database, 10):
        await turns.apply(fencing_token_of(claim.result.chat), ENDS[end])
    assert admitted_ids == [chats[2].id, chats[3].id]
    claims = await claim_chats(database, 10)
    assert {c.result.chat.id for c in claims} == set(admitted_ids)
    assert chats[4].id in await held_ids(database)


async def test_chat_that_cannot_be_read_lets_the_next_one_go(database: Database) -> None:
    """It fails at its claim, and others are told at once of the chat that takes its place."""
    await insert_models(database)
    first, second = await send(database, most=1), await send(database, most=1)
    deep = "repeat('[', 900) || repeat(']', 900)"
    await database.fetch(f"UPDATE chats SET labels['a'] = ({deep})::jsonb WHERE id = $1", first.id)
    admitted_ids: list[UUID] = []
    claims = Claims(
        database,
        worker_id=uuid4(),
        limits=limits(1),
        listener=CommitListener(on_admit=lambda chat_id, *_: admitted_ids.append(chat_id)),
    )
    with capture_logs():
        batch = await claims.claim(5, models=(MODEL,), suspect_recoveries=2)
    assert batch.claims == ()
    assert admitted_ids == [second.id]


async def test_deferred_chat_comes_back_within_the_limit(database: Database) -> None:
    """It gives up its place while it waits, and takes the first that is free once it is due."""
    await insert_models(database)
    turns = Turns(database, limits=limits())
    for _ in range(4):
        await send(database)
    first, second = [c.result.chat for c in await claim_chats(database, 10)]
    await turns.apply(fencing_token_of(first), ENDS["defer"])
    assert len(await claim_chats(database, 10)) == 1
    await make_due(database)
    assert await claim_chats(database, 10) == [], "two others run"
    assert await admit_held(database) == 0
    await turns.apply(fencing_token_of(second), ENDS["finish"])
    (claim,) = await claim_chats(database, 10)
    assert claim.result.chat.id == first.id, "ahead of the fourth, which never ran"


async def test_deferred_chat_that_is_alone_comes_back_by_the_sweep(database: Database) -> None:
    await insert_models(database)
    await send(database)
    (claim,) = await claim_chats(database, 10)
    await Turns(database, limits=limits()).apply(fencing_token_of(claim.result.chat), ENDS["defer"])
    assert await admit_held(database) == 0, "it is not due"
    await make_due(database)
    assert await admit_held(database) == 1
    assert len(await claim_chats(database, 10)) == 1


async def test_sweep_follows_a_changed_limit(database: Database) -> None:
    await insert_models(database)
    for _ in range(10):
        await send(database)
    assert await admit_held(database) == 0
    assert await admit_held(database, most=5) == 3
    assert await admit_held(database, most=0) == 5, "unlimited"


async def test_turn_that_ends_above_a_lowered_limit_lets_nothing_go(database: Database) -> None:
    await insert_models(database)
    for _ in range(6):
        await send(database, most=4)
    turns = Turns(database, limits=limits(2))
    claims = await claim_chats(database, 10)
    for number, claim in enumerate(claims, 1):
        await turns.apply(fencing_token_of(claim.result.chat), ENDS["finish"])
        assert len(await held_ids(database)) == (2 if number < 3 else 4 - number)


async def test_place_of_a_stopped_chat_is_given_on_by_the_sweep(database: Database) -> None:
    await insert_models(database)
    chats = [await send(database) for _ in range(3)]
    await Chats(database, limits=limits()).interrupt(chats[0].id, owner_id=OWNER)
    assert await admit_held(database) == 1
    await Chats(database, limits=limits()).interrupt(chats[2].id, owner_id=OWNER)
    assert await held_ids(database) == set()


@pytest.mark.parametrize("status", [Status.WAITING, Status.ERROR, Status.REQUIRES_ACTION])
async def test_every_act_that_makes_a_chat_pending_is_limited(
    database: Database, status: Status
) -> None:
    await chat_with_status(database, Status.RUNNING)
    await chat_with_status(database, Status.PENDING)
    chat = await chat_with_status(database, status)
    await Chats(database, limits=limits()).send(
        chat.id,
        owner_id=OWNER,
        content=text_content("more"),
        busy_behavior=BusyBehavior.INTERRUPT,
    )
    assert await held_ids(database) == {chat.id}


@pytest.mark.parametrize("status", [Status.PENDING, Status.RUNNING, Status.INTERRUPTING])
async def test_chat_that_counts_already_is_not_held_when_it_is_edited(
    database: Database, status: Status
) -> None:
    chat = await chat_with_status(database, status)
    await send(database)
    beyond = await send(database)
    edited = await first_edited(Messages(database, limits=limits()), chat)
    assert edited.chat.status is Status.PENDING
    assert await held_ids(database) == {beyond.id}


async def test_waiting_for_tools_does_not_count(database: Database) -> None:
    for _ in range(3):
        await chat_with_status(database, Status.REQUIRES_ACTION)
    await send(database)
    assert await held_ids(database) == set()


async def test_limit_is_exact_for_concurrent_requests(wide: Database) -> None:
    await gather_all(*(send(wide) for _ in range(20)))
    assert len(await held_ids(wide)) == 20 - LIMIT


END_AS_ITS_WORKER_DIED = """
UPDATE chats SET worker_id = NULL, started_at = NULL, heartbeat_at = NULL,
    status = CASE status WHEN 'running' THEN 'pending' ELSE 'waiting' END,
    pending_since = CASE status WHEN 'running' THEN started_at END,
    recoveries = CASE status WHEN 'running' THEN 1 ELSE 0 END
WHERE id = $1
"""
MOST_RUNNING = """
SELECT COALESCE(max(n), 0) AS most FROM (
    SELECT count(*) AS n FROM chats
    WHERE NOT held AND status IN ('pending', 'running', 'interrupting') GROUP BY owner_id) counted
"""


class Storm:
    """Sends, ends, stops, deaths and sweeps at random."""

    def __init__(self, database: Database, seed: int) -> None:
        self.database = database
        self.random = random.Random(seed)
        self.chats = Chats(database, limits=limits())
        self.turns = Turns(database, limits=limits())
        self.all_sent = False

    async def send(self) -> None:
        for _ in range(25):
            chat = await send(self.database, owner=self.random.choice(["ann", "bob", "cyd"]))
            if self.random.random() < 0.2:
                await self.chats.interrupt(chat.id, owner_id=chat.owner_id)

    async def work(self) -> None:
        while not await self.is_over():
            for claim in await claim_chats(self.database, 2, worker_id=uuid4()):
                await self.end(claim)

    async def end(self, claim: Claim) -> None:
        chat = claim.result.chat
        if self.random.random() < 0.8:
            with suppress(LeaseLost):  # it was stopped
                end = self.random.choice(["finish", "fail"])
                await self.turns.apply(fencing_token_of(chat), ENDS[end])
                return
        await self.database.fetch(END_AS_ITS_WORKER_DIED, chat.id)

    async def sweep(self) -> None:
        while not await self.is_over():
            await admit_held(self.database)
            (row,) = await self.database.fetch(MOST_RUNNING)
            assert row["most"] <= LIMIT

    async def is_over(self) -> bool:
        unfinished = (
            "SELECT FROM chats WHERE status IN ('pending', 'running', 'interrupting') LIMIT 1"
        )
        return self.all_sent and not await self.database.fetch(unfinished)

    async def run(self) -> None:
        async def send_all() -> None:
            await gather_all(*(self.send() for _ in range(4)))
            self.all_sent = True

        await gather_all(send_all(), self.work(), self.work(), self.sweep(), self.sweep())


async def test_no_chat_is_held_for_ever_after_a_storm(wide: Database) -> None:
    """Never too many run, and in the end every chat has run."""
    await Storm(wide, seed=7).run()
