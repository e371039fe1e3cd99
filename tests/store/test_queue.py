"""Queued messages: promoted, removed, and taken by the end of a turn."""

import pytest
from support.concurrency import gather_all
from support.factories import (
    OTHER_MODEL,
    OWNER,
    PENDING_CALL_IDS,
    WORKER,
    chat_with_status,
    text_content,
)
from support.invariants import texts
from support.stored_messages import queued_ids

from chatd.domain.chat import BusyBehavior, Chat, Status
from chatd.domain.errors import QueuedMessageNotFound
from chatd.domain.message import NewMessage, Role
from chatd.store.chats import Chats
from chatd.store.commands import FinishInterrupt, FinishTurn
from chatd.store.database import Database
from chatd.store.queue import Queue
from chatd.store.turns import FencingToken, Turns

ANSWER = NewMessage(role=Role.ASSISTANT, content=text_content("an answer"))


@pytest.mark.parametrize("status", [Status.RUNNING, Status.PENDING, Status.INTERRUPTING])
async def test_promote_moves_the_message_to_the_front(database: Database, status: Status) -> None:
    chat = await chat_with_status(database, status, queued=3)
    first, second, third = await queued_ids(database, chat)
    result = await Queue(database).promote(chat.id, third, owner_id=OWNER)
    assert await queued_ids(database, chat) == [third, first, second]
    assert result.entry is not None
    assert result.entry.data["head"] == third
    assert result.chat.queue_length == 3


@pytest.mark.parametrize("status", [Status.ERROR, Status.REQUIRES_ACTION])
async def test_promote_in_a_chat_without_a_turn_stores_the_message(
    database: Database, status: Status
) -> None:
    chat = await chat_with_status(database, status, queued=3)
    first, second, third = await queued_ids(database, chat)
    result = await Queue(database).promote(chat.id, second, owner_id=OWNER)
    assert await queued_ids(database, chat) == [first, third]
    assert result.entry is not None
    assert result.entry.messages[-1].content == text_content("queued 1")
    assert result.chat.last_model_config_id == OTHER_MODEL
    results = [m for m in result.entry.messages if m.role is Role.TOOL]
    assert [part["tool_call_id"] for m in results for part in m.content] == (
        [*PENDING_CALL_IDS] if status is Status.REQUIRES_ACTION else []
    )
    ledger = await database.fetch("SELECT FROM chat_tool_calls WHERE completed_at IS NULL")
    assert ledger == []


async def test_promoted_message_is_answered_next(database: Database) -> None:
    chat = await chat_with_status(database, Status.RUNNING, queued=2)
    first, second = await queued_ids(database, chat)
    await Queue(database).promote(chat.id, second, owner_id=OWNER)
    result = await Turns(database).apply(
        FencingToken(chat.id, WORKER, 1), FinishInterrupt(step=0, messages=[ANSWER], settled_part=1)
    )
    assert result.chat.status is Status.RUNNING
    assert result.entry is not None
    assert result.entry.data["promoted"] == second
    assert await queued_ids(database, chat) == [first]


async def test_interrupting_message_is_journaled_as_the_head(database: Database) -> None:
    chat = await chat_with_status(database, Status.RUNNING, queued=1)
    result = await Chats(database).send(
        chat.id, owner_id=OWNER, content=text_content("now"), busy_behavior=BusyBehavior.INTERRUPT
    )
    assert result.entry is not None
    assert result.queued_message is not None
    assert result.entry.data["head"] == result.entry.data["queued"] == result.queued_message.id
    assert (await queued_ids(database, chat))[0] == result.queued_message.id


async def test_remove_and_finish_never_both_take_a_queued_message(wide: Database) -> None:
    for _ in range(20):
        chat = await chat_with_status(wide, Status.RUNNING, queued=1)
        (queued,) = await queued_ids(wide, chat)

        async def unqueue(chat: Chat = chat, queued: int = queued) -> bool:
            try:
                await Queue(wide).remove(chat.id, queued, owner_id=OWNER)
            except QueuedMessageNotFound:
                return False
            return True

        removed, result = await gather_all(
            unqueue(),
            Turns(wide).apply(
                FencingToken(chat.id, WORKER, 1),
                FinishTurn(step=0, messages=[ANSWER], settled_part=1),
            ),
        )
        assert result.chat.status is (Status.WAITING if removed else Status.RUNNING)
        stored = await wide.fetch(
            "SELECT * FROM chat_messages WHERE chat_id = $1 ORDER BY id", chat.id
        )
        assert texts(stored) == (["hello"] if removed else ["hello", "queued 0"])
