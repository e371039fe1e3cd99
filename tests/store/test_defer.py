"""Deferred chats: a backoff gives the slot back, and waits in the database until it is due."""

from typing import Any

import pytest
from support.claims import claim_batch, claim_chats, make_due
from support.factories import OWNER, chat_with_status, stored_rows, text_content
from support.leases import fencing_token_of, reap

from chatd.domain.chat import BusyBehavior, Chat, Status
from chatd.domain.errors import LeaseLost
from chatd.store.chats import Chats
from chatd.store.commands import CommitStep, Defer, FinishTurn, Release
from chatd.store.database import Database
from chatd.store.messages import Messages
from chatd.store.turns import Turns

ATTEMPT: dict[str, Any] = {
    "step": 0,
    "attempts": 1,
    "settled_part": 0,
    "failure": {"kind": "rate_limit"},
}


async def deferred_chat(
    database: Database, *, delay: float = 45.0, remaining: float = 600.0, **columns: Any
) -> Chat:
    """Return a chat that was deferred at its first attempt."""
    running = await chat_with_status(database, Status.RUNNING, **columns)
    result = await Turns(database).apply(
        fencing_token_of(running),
        Defer(**ATTEMPT, delay_seconds=delay, remaining_seconds=remaining),
    )
    return result.chat


async def test_deferred_chat_is_claimed_when_it_is_due(database: Database) -> None:
    chat = await deferred_chat(database)
    assert (chat.status, chat.attempts, chat.recoveries) == (Status.PENDING, 1, 0)
    assert chat.pending_since == chat.next_attempt_at
    assert await claim_chats(database, 10) == []
    await make_due(database)
    (claim,) = await claim_chats(database, 10)
    assert (claim.result.chat.id, claim.result.chat.attempts) == (chat.id, 1)
    assert claim.turn_seconds_left is not None
    assert 590 < claim.turn_seconds_left <= 600
    assert 1.0 <= claim.pending_seconds < 10, "since it was due"


async def test_claim_returns_the_time_until_the_next_chat_is_due(database: Database) -> None:
    for delay in (300.0, 45.0):
        await deferred_chat(database, delay=delay)
    batch = await claim_batch(database, 10)
    assert batch.claims == ()
    assert batch.next_due_in_seconds is not None
    assert 40 < batch.next_due_in_seconds <= 45


async def test_turn_keeps_its_deadline_over_defer_release_and_step(database: Database) -> None:
    turns = Turns(database)
    await deferred_chat(database)
    await make_due(database)
    (claim,) = await claim_chats(database, 1)
    fence = fencing_token_of(claim.result.chat)
    await turns.apply(fence, CommitStep(step=0, messages=[], settled_part=0))
    await turns.apply(fence, Release(step=1, reason="shutdown"))
    (claim,) = await claim_chats(database, 1)
    assert claim.turn_seconds_left is not None
    assert 590 < claim.turn_seconds_left <= 600
    ended = await turns.apply(
        fencing_token_of(claim.result.chat), FinishTurn(step=1, messages=[], settled_part=0)
    )
    await Chats(database).send(ended.chat.id, owner_id=OWNER, content=text_content("more"))
    (claim,) = await claim_chats(database, 1)
    assert claim.turn_seconds_left is None, "another turn has all its time"


async def test_interrupt_of_a_deferred_chat_ends_its_turn(database: Database) -> None:
    chat = await deferred_chat(database)
    result = await Chats(database).interrupt(chat.id, owner_id=OWNER)
    assert (result.chat.status, result.chat.attempts) == (Status.WAITING, 0)
    assert result.chat.next_attempt_at is None


async def test_act_of_the_owner_does_not_wait_for_the_attempt(database: Database) -> None:
    """A queue, a message that interrupts and an edit begin another turn, which is due at once."""
    chats = Chats(database)
    queued = await deferred_chat(database)
    await chats.send(queued.id, owner_id=OWNER, content=text_content("next"))
    await chats.interrupt(queued.id, owner_id=OWNER)
    sent = await deferred_chat(database)
    await chats.send(
        sent.id,
        owner_id=OWNER,
        content=text_content("now"),
        busy_behavior=BusyBehavior.INTERRUPT,
    )
    edited = await deferred_chat(database)
    (message,) = await database.fetch("SELECT id FROM chat_messages WHERE chat_id = $1", edited.id)
    await Messages(database).edit(
        edited.id, message["id"], owner_id=OWNER, content=text_content("instead")
    )
    claims = await claim_chats(database, 10)
    assert {claim.result.chat.id for claim in claims} == {queued.id, sent.id, edited.id}
    for claim in claims:
        assert (claim.result.chat.attempts, claim.turn_seconds_left) == (0, None)


async def test_message_that_is_queued_leaves_the_attempt_deferred(database: Database) -> None:
    chat = await deferred_chat(database)
    result = await Chats(database).send(chat.id, owner_id=OWNER, content=text_content("next"))
    assert (result.chat.attempts, result.chat.queue_length) == (1, 1)
    assert await claim_chats(database, 10) == []


async def test_deferred_chat_costs_no_recovery_and_keeps_those_it_has(database: Database) -> None:
    await deferred_chat(database, recoveries=1)
    await make_due(database)
    (claim,) = await claim_chats(database, 1)
    assert claim.result.chat.recoveries == 1
    (reaped,) = await reap(database)
    assert reaped.chat.recoveries == 2


async def test_stale_defer_changes_nothing(database: Database) -> None:
    """Another attempt was recorded since."""
    chat = await chat_with_status(database, Status.RUNNING, attempts=1)
    before = await stored_rows(database, chat)
    with pytest.raises(LeaseLost):
        await Turns(database).apply(
            fencing_token_of(chat), Defer(**ATTEMPT, delay_seconds=9.0, remaining_seconds=60.0)
        )
    assert await stored_rows(database, chat) == before
