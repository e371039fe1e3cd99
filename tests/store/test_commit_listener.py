"""Commit listener: it is called once with each committed entry, and with nothing else.

``test_transitions`` holds, for every cell of the table, that a transition reports its own entry.
"""

from dataclasses import replace
from uuid import UUID

import pytest
from support.claims import claim_chats
from support.factories import (
    MODEL,
    OWNER,
    chat_with_status,
    insert_chat,
    insert_models,
    text_content,
)
from support.leases import reap

from chatd.domain.chat import Status
from chatd.domain.errors import ChatNotFound, ChatTreeBusy, IdempotencyKeyReused
from chatd.domain.journal import JournalEntry
from chatd.domain.transitions import WORKER_TRANSITIONS, Transition
from chatd.store.chats import Chats
from chatd.store.commands import WORKER_COMMANDS
from chatd.store.commits import CommitListener
from chatd.store.database import Database
from chatd.store.idempotency import IdempotencyKey
from chatd.store.stream_reads import PartBatch, StreamStore
from chatd.store.tool_calls import ToolCalls

KEY = IdempotencyKey(owner_id=OWNER, key="k", request_hash=b"1")


class Recorder:
    """Listener that records its calls."""

    def __init__(self) -> None:
        self.entries: list[JournalEntry] = []
        self.deletions: list[tuple[UUID, int]] = []
        self.flushes: list[UUID] = []
        self.replay_count = 0
        self.listener = CommitListener(
            on_commit=lambda entries, _: self.entries.extend(entries),
            on_delete=lambda chat_id, version, _: self.deletions.append((chat_id, version)),
            on_flush=self.flushes.append,
            on_replay=self._count_replay,
        )

    def _count_replay(self) -> None:
        self.replay_count += 1


@pytest.mark.parametrize("content", [None, text_content("hello")], ids=["empty", "with message"])
async def test_create_reports_its_entry(
    database: Database, content: tuple[dict[str, str], ...] | None
) -> None:
    await insert_models(database)
    recorder = Recorder()
    chats = Chats(database, listener=recorder.listener)
    result = await chats.create(owner_id=OWNER, model_config_id=MODEL, content=content)
    assert recorder.entries == [result.entry]


async def test_replay_is_counted_and_reported_again(database: Database) -> None:
    await insert_models(database)
    recorder = Recorder()
    chats = Chats(database, listener=recorder.listener)
    first = await chats.create(owner_id=OWNER, model_config_id=MODEL, key=KEY)
    again = await chats.create(owner_id=OWNER, model_config_id=MODEL, key=KEY)
    assert (first.replayed, again.replayed) == (False, True)
    assert again.entry == first.entry
    assert recorder.entries == [first.entry, first.entry]
    assert recorder.replay_count == 1
    with pytest.raises(IdempotencyKeyReused):
        await chats.create(
            owner_id=OWNER, model_config_id=MODEL, key=replace(KEY, request_hash=b"2")
        )
    assert (len(recorder.entries), recorder.replay_count) == (2, 1)


async def test_archive_reports_each_chat_of_the_tree_or_none(database: Database) -> None:
    root = await chat_with_status(database, Status.WAITING)
    child = await insert_chat(database, parent_chat_id=root.id, root_chat_id=root.id)
    recorder = Recorder()
    chats = Chats(database, listener=recorder.listener)
    results = await chats.archive(root.id, owner_id=OWNER)
    assert [result.chat.id for result in results] == [root.id, child.id]
    assert recorder.entries == [result.entry for result in results]
    results += await chats.archive(root.id, owner_id=OWNER, archived=False)
    assert recorder.entries == [result.entry for result in results]
    await database.fetch(
        "UPDATE chats SET status = 'pending', pending_since = clock_timestamp() WHERE id = $1",
        child.id,
    )
    with pytest.raises(ChatTreeBusy):
        await chats.archive(root.id, owner_id=OWNER)
    assert len(recorder.entries) == len(results) == 4


async def test_delete_reports_each_chat_of_the_tree(database: Database) -> None:
    root = await chat_with_status(database, Status.WAITING, version=3)
    child = await insert_chat(database, parent_chat_id=root.id, root_chat_id=root.id, version=5)
    recorder = Recorder()
    chats = Chats(database, listener=recorder.listener)
    with pytest.raises(ChatNotFound):
        await chats.delete(root.id, owner_id="bob")
    assert recorder.deletions == []
    deleted = await chats.delete(root.id, owner_id=OWNER)
    assert sorted(recorder.deletions) == sorted(deleted) == sorted([(root.id, 3), (child.id, 5)])
    assert recorder.entries == []


async def test_batches_report_every_chat(database: Database) -> None:
    """A claim, a reaper and an expiry change many chats in one statement."""
    recorder = Recorder()
    for _ in range(3):
        await chat_with_status(database, Status.PENDING)
        await chat_with_status(database, Status.REQUIRES_ACTION)
    claims = await claim_chats(database, 2, listener=recorder.listener)
    assert recorder.entries == [claim.result.entry for claim in claims]
    recorder.entries.clear()
    reaped = await reap(database, listener=recorder.listener)
    assert recorder.entries == [result.entry for result in reaped]
    recorder.entries.clear()
    expired = await ToolCalls(database, listener=recorder.listener).expire()
    assert recorder.entries == [result.entry for result in expired]
    assert (len(claims), len(reaped), len(expired)) == (2, 2, 3)


async def test_flush_reports_each_chat(database: Database) -> None:
    chats = [await chat_with_status(database, Status.RUNNING) for _ in range(2)]
    recorder = Recorder()
    streams = StreamStore(database, listener=recorder.listener)
    part = {"index": 0, "type": "text", "text": "x"}
    await streams.flush_parts([PartBatch(chat.id, chat.epoch, 1, [part]) for chat in chats])
    assert recorder.flushes == [chat.id for chat in chats]


def test_each_transition_of_a_worker_has_a_command() -> None:
    transitions = [command.transition for command in WORKER_COMMANDS]
    assert sorted(transitions) == sorted([*WORKER_TRANSITIONS, Transition.REAP_INTERRUPT])
