"""Flushed parts: refused when settled, deleted at the end of a step, and joined for readers."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from support.claims import claim_chats
from support.factories import chat_with_status, text_content
from support.leases import fencing_token_of, reap
from support.stored_parts import (
    flush_texts,
    insert_late_parts,
    live_parts,
    stored_batches,
    text_parts,
)
from support.sweeps import delete_expired

from chatd.domain.chat import Chat, Status
from chatd.domain.message import NewMessage, Role
from chatd.store.commands import CommitStep, Fail, FinishTurn, RecordRetry, Release
from chatd.store.database import Database
from chatd.store.stream_reads import PartBatch, StreamStore
from chatd.store.sweeps import PARTS
from chatd.store.turns import Turns

ANSWER = NewMessage(role=Role.ASSISTANT, content=text_content("an answer"))


async def test_settled_or_outdated_parts_are_not_flushed(database: Database) -> None:
    chat = await chat_with_status(database, Status.RUNNING, epoch=2, settled_part=5)
    idle = await chat_with_status(database, Status.PENDING, epoch=2)
    await StreamStore(database).flush_parts(
        [
            PartBatch(chat.id, 1, 6, text_parts("an older epoch")),
            PartBatch(chat.id, 3, 6, text_parts("an epoch that is not")),
            PartBatch(chat.id, 2, 5, text_parts("settled")),
            PartBatch(idle.id, 2, 1, text_parts("no worker has it")),
            PartBatch(uuid4(), 2, 1, text_parts("no such chat")),
            PartBatch(chat.id, 2, 6, text_parts("live")),
        ]
    )
    assert await stored_batches(database) == [(2, 6, 6)]
    await StreamStore(database).flush_parts([])


ENDS: dict[str, Callable[[Database, Chat], Any]] = {
    "commit_step": lambda db, chat: Turns(db).apply(
        fencing_token_of(chat), CommitStep(step=0, messages=[ANSWER], settled_part=2)
    ),
    "record_retry": lambda db, chat: Turns(db).apply(
        fencing_token_of(chat),
        RecordRetry(step=0, attempts=1, delay_seconds=0, settled_part=2, failure={}),
    ),
    "finish_turn": lambda db, chat: Turns(db).apply(
        fencing_token_of(chat), FinishTurn(step=0, messages=[ANSWER], settled_part=2)
    ),
    "fail": lambda db, chat: Turns(db).apply(
        fencing_token_of(chat),
        Fail(step=chat.committed_steps, last_error="no", last_error_detail={}, settled_part=2),
    ),
    "release": lambda db, chat: Turns(db).apply(
        fencing_token_of(chat), Release(step=0, reason="test")
    ),
    "reap": lambda db, _: reap(db),
}


@pytest.mark.parametrize("queued", [0, 1])
@pytest.mark.parametrize("end", ENDS)
async def test_end_of_a_step_deletes_its_parts(database: Database, end: str, queued: int) -> None:
    """Parts are deleted with the end. A late flush is refused, or its parts are stored and never read."""
    chat = await chat_with_status(database, Status.RUNNING, queued=queued)
    await flush_texts(database, chat, 1, "a", "b")
    assert await live_parts(database, chat) == (text_parts("a", "b"), text_parts("a", "b"))
    await ENDS[end](database, chat)
    assert await stored_batches(database) == []
    assert await live_parts(database, chat) == ((), ())
    await flush_texts(database, chat, 2, "b")
    assert await stored_batches(database) == []
    await insert_late_parts(database, chat, 2, "b")
    assert await live_parts(database, chat) == ((), ())
    for claim in await claim_chats(database, 1):
        assert await live_parts(database, claim.result.chat) == ((), ())
    assert await delete_expired(database, PARTS) == 1
    assert await stored_batches(database) == []


async def test_parts_of_a_fenced_worker_are_not_read(database: Database) -> None:
    """A reaped worker may flush late. Its parts and its epoch belong to no step."""
    chat = await chat_with_status(database, Status.RUNNING)
    await ENDS["reap"](database, chat)
    await insert_late_parts(database, chat, 40, "zombie")
    assert await live_parts(database, chat) == ((), ())
    (claim,) = await claim_chats(database, 1)
    await flush_texts(database, chat, 41, "zombie")
    await flush_texts(database, chat, 1, "fresh", epoch=claim.result.chat.epoch)
    assert await live_parts(database, chat) == (text_parts("fresh"), text_parts("fresh"))


async def test_batches_are_joined_without_overlap_or_gap(database: Database) -> None:
    chat = await chat_with_status(database, Status.RUNNING)
    await flush_texts(database, chat, 1, "a", "b")
    await flush_texts(database, chat, 1, "a", "b")  # repeated
    await flush_texts(database, chat, 1, "a", "b", "c")  # repeated, with one more part
    await flush_texts(database, chat, 3, "c", "d")
    assert await live_parts(database, chat) == (text_parts(*"abcd"), text_parts(*"abcd"))
    await flush_texts(database, chat, 6, "f")  # the server crashed and lost a part in between
    assert await live_parts(database, chat) == (text_parts(*"abcd"), text_parts(*"abcd"))
    await database.fetch("DELETE FROM chat_parts WHERE first_part = 1")
    assert await live_parts(database, chat) == ((), ())
