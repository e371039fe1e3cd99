"""Interrupted chats whose worker died: a reaper finishes the interrupt with the flushed parts."""

from dataclasses import replace
from typing import Any

import pytest
from support.factories import MODEL, chat_with_status, text_content
from support.leases import fencing_token_of, orphaned_interrupts

from chatd.domain.chat import Chat, Status
from chatd.domain.errors import LeaseLost
from chatd.domain.message import NewMessage, Role
from chatd.store.commands import FinishInterrupt, ReapInterrupt
from chatd.store.database import Database
from chatd.store.stream_reads import PartBatch, StreamStore
from chatd.store.turns import Turns


async def flush_parts(database: Database, chat: Chat, first: int, *parts: dict[str, Any]) -> None:
    await StreamStore(database).flush_parts([PartBatch(chat.id, chat.epoch, first, parts)])


def text_part(text: str, index: int = 0) -> dict[str, Any]:
    return {"index": index, "type": "text", "text": text}


async def test_flushed_parts_of_a_dead_worker_are_stored(database: Database) -> None:
    """Text and reasoning are stored as far as they came. An incomplete tool call is not stored."""
    chat = await chat_with_status(database, Status.INTERRUPTING, settled_part=10, committed_steps=4)
    reasoning = {"index": 0, "type": "reasoning", "text": "hm"}
    call = {"index": 2, "type": "tool-call", "tool_call_id": "a", "tool_name": "f", "args": "{"}
    await flush_parts(database, chat, 11, reasoning, text_part("Hel", 1))
    await flush_parts(database, chat, 13, text_part("lo", 1), call)
    (orphan,) = await orphaned_interrupts(database)
    assert orphan.fence == fencing_token_of(chat)
    assert (orphan.command.step, orphan.command.settled_part) == (4, 14)
    result = await Turns(database).apply(orphan.fence, orphan.command)
    assert result.chat.status is Status.WAITING
    assert result.chat.worker_id is None
    assert result.entry is not None
    (message,) = result.entry.messages
    assert message.content == (
        {"type": "reasoning", "text": "hm"},
        {"type": "text", "text": "Hello"},
    )
    assert message.finish_reason == "interrupted"
    assert message.model_config_id == MODEL
    assert await database.fetch("SELECT FROM chat_parts") == []


async def test_overlapping_batches_are_joined_up_to_a_gap(database: Database) -> None:
    """A flush without a response is repeated with more parts. A crash of the server loses the first."""
    chat = await chat_with_status(database, Status.INTERRUPTING)
    await flush_parts(database, chat, 1, text_part("a"), text_part("b"))
    await flush_parts(database, chat, 1, text_part("a"), text_part("b"), text_part("c"))
    await flush_parts(database, chat, 5, text_part("e"))
    (orphan,) = await orphaned_interrupts(database)
    assert [message.content for message in orphan.command.messages] == [text_content("abc")]
    assert orphan.command.settled_part == 5


@pytest.mark.parametrize("parts", [(), ({"index": 0, "type": "tool-call", "args": "{"},)])
async def test_interrupt_without_storable_parts_stores_no_message(
    database: Database, parts: tuple[dict[str, Any], ...]
) -> None:
    chat = await chat_with_status(database, Status.INTERRUPTING, queued=1)
    if parts:
        await flush_parts(database, chat, 1, *parts)
    (orphan,) = await orphaned_interrupts(database)
    assert orphan.command.messages == ()
    result = await Turns(database).apply(
        orphan.fence, ReapInterrupt(step=0, messages=(), settled_part=0)
    )
    assert result.chat.status is Status.PENDING
    assert result.entry is not None
    assert [message.role for message in result.entry.messages] == [Role.USER]


async def test_parts_of_an_earlier_epoch_are_not_stored(database: Database) -> None:
    chat = await chat_with_status(database, Status.INTERRUPTING, epoch=3)
    await database.fetch(
        "INSERT INTO chat_parts (chat_id, epoch, first_part, last_part, parts) VALUES ($1, 2, 1, 1, $2)",
        chat.id,
        [text_part("old")],
    )
    (orphan,) = await orphaned_interrupts(database)
    assert (orphan.command.messages, orphan.command.settled_part) == ((), 0)


async def test_worker_that_finished_first_wins_over_the_reaper(database: Database) -> None:
    chat = await chat_with_status(database, Status.INTERRUPTING)
    await flush_parts(database, chat, 1, text_part("half"))
    (orphan,) = await orphaned_interrupts(database)
    complete = NewMessage(role=Role.ASSISTANT, content=text_content("whole"))
    turns = Turns(database)
    await turns.apply(
        fencing_token_of(chat), FinishInterrupt(step=0, messages=[complete], settled_part=2)
    )
    with pytest.raises(LeaseLost):
        await turns.apply(orphan.fence, replace(orphan.command, settled_part=1))
    assert [message.content for message in (await turns.history(chat.id)).messages][1:] == [
        text_content("whole")
    ]
