"""Snapshots of chats for streams: each is of one moment, and has only live parts."""

import asyncio
from uuid import uuid4

import pytest
from support.concurrency import gather_all
from support.factories import OTHER_MODEL, OWNER, chat_with_status, text_content
from support.leases import fencing_token_of
from support.stored_parts import flush_texts, insert_late_parts, live_parts, text_parts

from chatd.domain.chat import LEASED, Status
from chatd.domain.message import NewMessage, Role
from chatd.store.commands import CommitStep
from chatd.store.database import Database
from chatd.store.stream_reads import PartBatch, StreamStore
from chatd.store.turns import Turns


async def test_snapshot_has_what_a_person_sees(database: Database) -> None:
    chat = await chat_with_status(database, Status.RUNNING, queued=2)
    for visibility, superseded in (("user", None), ("model", None), ("both", 1)):
        await database.fetch(
            "INSERT INTO chat_messages (chat_id, id, version, role, content, visibility,"
            " superseded_version) SELECT $1, max(id) + 1, 1, 'assistant', $2, $3, $4"
            " FROM chat_messages WHERE chat_id = $1",
            chat.id,
            text_content(visibility),
            visibility,
            superseded,
        )
    await database.fetch("UPDATE chat_queued_messages SET position = -id")
    await flush_texts(database, chat, 1, "a", "b")
    await flush_texts(database, chat, 3, "c")
    snapshot = await StreamStore(database).snapshot(chat.id, owner_id=OWNER)
    assert snapshot is not None
    assert snapshot.chat == chat
    assert [message.content for message in snapshot.messages] == [
        text_content("hello"),
        text_content("user"),
    ]
    assert [q.content for q in snapshot.queue] == [
        text_content("queued 1"),
        text_content("queued 0"),
    ]
    assert {q.model_config_id for q in snapshot.queue} == {OTHER_MODEL}
    assert snapshot.parts == text_parts("a", "b", "c")
    assert await StreamStore(database).snapshot(chat.id, owner_id="bob") is None
    assert await StreamStore(database).snapshot(uuid4(), owner_id=OWNER) is None


async def test_snapshot_is_of_one_moment(wide: Database) -> None:
    """Chat, messages, queue and parts are consistent while the worker commits steps."""
    chat = await chat_with_status(wide, Status.RUNNING)
    streams, turns, finished = StreamStore(wide), Turns(wide), asyncio.Event()

    async def run_steps() -> None:
        for step in range(60):
            lease = await turns.current(chat.id)
            assert lease is not None
            base = lease.settled_part
            await streams.flush_parts([PartBatch(chat.id, 1, base + 1, text_parts(str(step)))])
            answer = NewMessage(role=Role.ASSISTANT, content=text_content(str(step)))
            await turns.apply(
                fencing_token_of(chat),
                CommitStep(step=step, messages=[answer], settled_part=base + 1),
            )
        finished.set()

    async def read_snapshots() -> int:
        states = set()
        while not finished.is_set():
            snapshot = await streams.snapshot(chat.id, owner_id=OWNER)
            assert snapshot is not None
            answers = [m.content[0]["text"] for m in snapshot.messages if m.role is Role.ASSISTANT]
            assert answers == [str(n) for n in range(snapshot.chat.committed_steps)]
            assert snapshot.messages[-1].version == snapshot.chat.version
            assert snapshot.parts in [(), text_parts(str(snapshot.chat.committed_steps))]
            states.add((snapshot.chat.committed_steps, len(snapshot.parts)))
        return len(states)

    _, *state_counts = await gather_all(
        run_steps(), read_snapshots(), read_snapshots(), read_snapshots()
    )
    assert max(state_counts) > 5


@pytest.mark.parametrize("status", Status)
async def test_only_leased_chats_have_live_parts(database: Database, status: Status) -> None:
    chat = await chat_with_status(database, status, **({} if status in LEASED else {"epoch": 1}))
    await insert_late_parts(database, chat, 1, "a")
    expected = text_parts("a") if status in LEASED else ()
    assert await live_parts(database, chat) == (expected, expected)
