"""A stop of a chat stops its whole family at once, and nothing of it goes on."""

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from support.concurrency import gather_all, row_locked, wait_until_blocked
from support.factories import OWNER, PENDING_CALL_IDS, chat_with_status, text_content
from support.families import child_of, fence_of, finish, park, reread, spawn_of
from support.stored_messages import queued_ids, visible_texts
from support.transitions import may_queue

from chatd.domain.chat import BusyBehavior, Chat, Status
from chatd.domain.errors import ChatNotFound, ChatTreeBusy, LeaseLost
from chatd.domain.tool_call_errors import CANCELLED
from chatd.domain.transitions import Transition, target_status
from chatd.store.chats import Chats
from chatd.store.children import Children
from chatd.store.commits import CommitListener
from chatd.store.database import Database
from chatd.store.idempotency import IdempotencyKey


@pytest.mark.parametrize("status", list(Status))
@pytest.mark.parametrize("parent_status", [Status.RUNNING, Status.PARKED, Status.WAITING])
async def test_interrupt_stops_descendants(
    database: Database, status: Status, parent_status: Status
) -> None:
    queued = 2 if may_queue(status) else 0
    parent = await chat_with_status(database, parent_status)
    child = await child_of(parent, database, Status.WAITING)
    last = await child_of(child, database, status, queued=queued)
    published: list[Any] = []
    listener = CommitListener(on_commit=lambda entries, _: published.extend(entries))
    result = await Chats(database, listener=listener).interrupt(parent.id, owner_id=OWNER)
    assert result.chat.id == parent.id
    assert result.chat.status is target_status(Transition.INTERRUPT, parent_status)
    after = await reread(database, last)
    assert after.status is target_status(Transition.INTERRUPT, status)
    if status is Status.ERROR:
        assert after.version == last.version, "nothing of it would go on by itself"
        return
    assert (await queued_ids(database, last), after.queue_length) == ([], 0)
    changed = [entry for entry in published if entry.chat_id == last.id]
    if status is Status.WAITING or (status is Status.INTERRUPTING and not queued):
        assert changed == []
        return
    (entry,) = changed
    assert (entry.transition, entry.version) == (Transition.INTERRUPT, last.version + 1)
    assert entry.data["removed"] == [1001, 1002]
    if status in {Status.PARKED, Status.REQUIRES_ACTION}:
        (message,) = entry.messages
        assert [part["tool_call_id"] for part in message.content] == [*PENDING_CALL_IDS]


async def test_interrupt_of_a_child_leaves_its_parent_and_siblings(database: Database) -> None:
    parent = await chat_with_status(database, Status.RUNNING)
    child, sibling = [await child_of(parent, database, Status.RUNNING) for _ in range(2)]
    await Chats(database).interrupt(child.id, owner_id=OWNER)
    assert (await reread(database, child)).status is Status.INTERRUPTING
    for other in (parent, sibling):
        assert (await reread(database, other)).version == other.version


async def test_queue_of_the_chat_itself_goes_on(database: Database) -> None:
    """A person who stops a chat and has sent it a message wants an answer to that one."""
    parent = await chat_with_status(database, Status.PARKED, queued=2)
    child = await child_of(parent, database, Status.PENDING)
    result = await Chats(database).interrupt(parent.id, owner_id=OWNER)
    assert (result.chat.status, result.chat.queue_length) == (Status.PENDING, 1)
    assert (await reread(database, child)).status is Status.WAITING


async def test_repeated_interrupt_is_answered_once(database: Database) -> None:
    parent = await chat_with_status(database, Status.RUNNING)
    await child_of(parent, database, Status.RUNNING)
    key = IdempotencyKey(OWNER, "k", b"x")
    first = await Chats(database).interrupt(parent.id, owner_id=OWNER, key=key)
    again = await Chats(database).interrupt(parent.id, owner_id=OWNER, key=key)
    assert (again.chat.id, again.replayed, first.replayed) == (parent.id, True, False)


async def test_chat_that_is_started_meanwhile_is_stopped_too(wide: Database) -> None:
    """The interrupt has read the family before the new chat is committed, and waits for its parent.

    Both wait for the parent's lock. Whichever gets it first, no chat of the family goes on.
    """
    started = [await _started_meanwhile(wide) for _ in range(12)]
    assert any(started), "the interrupt came first each time"


async def _started_meanwhile(wide: Database) -> bool:
    """Start a chat and interrupt its family at the same time. Return whether it was started."""
    root = await chat_with_status(wide, Status.RUNNING)
    child = await child_of(root, wide, Status.RUNNING)

    async def spawn() -> UUID | None:
        with suppress(LeaseLost):
            return (await Children(wide).spawn(fence_of(child), spawn_of(str(child.id)))).chat.id
        return None

    async with row_locked(wide, child) as connection, asyncio.TaskGroup() as tasks:
        spawned = tasks.create_task(spawn())
        await wait_until_blocked(connection, 1)
        tasks.create_task(Chats(wide).interrupt(root.id, owner_id=OWNER))
        await wait_until_blocked(connection, 2)
        await connection.execute("COMMIT")
        await connection.execute("BEGIN")
    statuses = await statuses_of(wide, root)
    new_id = spawned.result()
    if new_id is not None:
        assert statuses.pop(new_id) == "waiting"
    assert statuses == {root.id: "interrupting", child.id: "interrupting"}
    return new_id is not None


async def statuses_of(database: Database, root: Chat) -> dict[UUID, str]:
    rows = await database.fetch("SELECT id, status FROM chats WHERE root_chat_id = $1", root.id)
    return {row["id"]: row["status"] for row in rows}


@dataclass
class Family:
    """A family whose workers start chats and send messages to one that is idle."""

    database: Database
    members: list[Chat]
    idle: Chat

    async def act(self, chat: Chat, call_id: str) -> None:
        try:
            await Children(self.database).spawn(fence_of(chat), spawn_of(call_id))
            if chat in self.members[:2]:
                await Chats(self.database).send(
                    self.idle.id,
                    owner_id=OWNER,
                    content=text_content("go on"),
                    caller=fence_of(chat),
                )
        except LeaseLost:
            pass


async def test_no_chat_goes_on_after_a_stop_whatever_happens_meanwhile(wide: Database) -> None:
    """Workers of the family start chats and send messages while a person stops its root."""
    for number in range(15):
        root = await chat_with_status(wide, Status.RUNNING)
        members = [root, *[await child_of(root, wide, Status.RUNNING) for _ in range(3)]]
        idle = await child_of(members[1], wide, Status.WAITING)
        family = Family(wide, members, idle)
        work = [family.act(chat, f"{chat.id} {n}") for chat in members for n in range(3)]
        place = random.Random(number).randrange(len(work))
        work.insert(place, Chats(wide).interrupt(root.id, owner_id=OWNER))
        await gather_all(*work)
        assert set((await statuses_of(wide, root)).values()) <= {"interrupting", "waiting"}
        assert await queued_ids(wide, idle) == []


async def test_agent_is_a_descendant_of_its_caller(database: Database) -> None:
    parent = await chat_with_status(database, Status.RUNNING)
    child = await child_of(parent, database, Status.RUNNING)
    stranger = await chat_with_status(database, Status.RUNNING)
    chats = Chats(database)
    for caller, agent in ((child, parent), (parent, stranger), (parent, parent)):
        before = await reread(database, agent)
        with pytest.raises(ChatNotFound):
            await chats.interrupt(agent.id, owner_id=OWNER, caller=fence_of(caller))
        with pytest.raises(ChatNotFound):
            await chats.send(
                agent.id, owner_id=OWNER, content=text_content("x"), caller=fence_of(caller)
            )
        assert await reread(database, agent) == before


async def test_message_of_another_chat_is_journaled_and_sent_once(database: Database) -> None:
    parent = await chat_with_status(database, Status.RUNNING)
    child = await child_of(parent, database, Status.WAITING)
    key = IdempotencyKey(OWNER, "of the call", b"")
    for _ in range(2):
        sent = await Chats(database).send(
            child.id, owner_id=OWNER, content=text_content("do"), caller=fence_of(parent), key=key
        )
    assert sent.entry is not None
    assert sent.entry.data["from_chat_id"] == str(parent.id)
    assert await visible_texts(database, child) == ["hello", "do"]


@pytest.mark.parametrize("status", [Status.INTERRUPTING, Status.WAITING, Status.PARKED])
async def test_stopped_caller_neither_sends_nor_stops(database: Database, status: Status) -> None:
    parent = await chat_with_status(database, status)
    child = await child_of(parent, database, Status.RUNNING)
    fence = fence_of(parent)
    with pytest.raises(LeaseLost):
        await Chats(database).send(
            child.id, owner_id=OWNER, content=text_content("x"), caller=fence
        )
    with pytest.raises(LeaseLost):
        await Chats(database).interrupt(child.id, owner_id=OWNER, caller=fence)
    assert (await reread(database, child)).version == child.version


@pytest.mark.parametrize("status", sorted({*Status} - {Status.WAITING, Status.ERROR}))
async def test_family_with_a_busy_chat_is_not_archived(database: Database, status: Status) -> None:
    root = await chat_with_status(database, Status.WAITING)
    child = await child_of(root, database, status)
    for chat in (root, child):
        with pytest.raises(ChatTreeBusy):
            await Chats(database).archive(chat.id, owner_id=OWNER)


async def test_results_that_are_there_are_kept_when_a_wait_is_cancelled(database: Database) -> None:
    """Also by a message that interrupts. The agents go on then, since only a stop reaches them."""
    parent = await chat_with_status(database, Status.RUNNING)
    child = await child_of(parent, database, Status.RUNNING)
    await park(database, parent, child.id)
    sent = await Chats(database).send(
        parent.id,
        owner_id=OWNER,
        content=text_content("never mind"),
        busy_behavior=BusyBehavior.INTERRUPT,
    )
    assert sent.chat.status is Status.PENDING
    (answer,) = await database.fetch("SELECT answer FROM chat_tool_calls")
    assert answer["answer"]["result"] == CANCELLED["parked"]
    assert (await reread(database, child)).version == child.version
    assert (await finish(database, child)).status is Status.WAITING
