"""What edit, clear, the queue's moves and delete do to what is stored."""

import asyncio
from typing import Any

import pytest
from support.concurrency import gather_all, row_locked, wait_until_blocked
from support.factories import (
    MODEL,
    OTHER_MODEL,
    OWNER,
    PENDING_CALL_IDS,
    WORKER,
    chat_with_status,
    insert_models,
    stored_rows,
    text_content,
)
from support.invariants import texts

from chatd.domain.chat import BusyBehavior, Chat, Status
from chatd.domain.errors import (
    ChatArchived,
    ChatNotFound,
    LeaseLost,
    MessageNotFound,
    NotAUserMessage,
    QueuedMessageNotFound,
)
from chatd.domain.message import NewMessage, Role
from chatd.store.chats import Chats
from chatd.store.commands import FinishInterrupt, FinishTurn, Release
from chatd.store.database import Database
from chatd.store.leases import Leases
from chatd.store.messages import Messages
from chatd.store.queue import Queue
from chatd.store.reads import ChatReader
from chatd.store.stream_reads import PartBatch, StreamStore
from chatd.store.turns import FencingToken, Turns

ANSWER = NewMessage(role=Role.ASSISTANT, content=text_content("an answer"))


async def visible(database: Database, chat: Chat) -> list[str]:
    messages = await ChatReader(database).messages_after(chat.id, 0, limit=100)
    return [message.content[0]["text"] for message in messages]


async def say(database: Database, chat: Chat, role: str, words: str) -> int:
    """Put a message into the history by hand."""
    row = await database.fetchrow(
        "INSERT INTO chat_messages (chat_id, version, role, content)"
        " VALUES ($1, 1, $2, $3) RETURNING id",
        chat.id,
        role,
        text_content(words),
    )
    assert row is not None
    return int(row["id"])


async def queue_of(database: Database, chat: Chat) -> list[int]:
    return [message.id for message in await ChatReader(database).queue(chat.id)]


# -- edit ------------------------------------------------------------------------------------------


async def test_edit_supersedes_later_messages_and_keeps_earlier_ones(
    database: Database,
) -> None:
    chat = await chat_with_status(database, Status.WAITING)
    await say(database, chat, "assistant", "hi")
    second = await say(database, chat, "user", "why?")
    await say(database, chat, "assistant", "because")
    moved = await Messages(database).edit(
        chat.id, second, owner_id=OWNER, content=text_content("a \x00 how?")
    )
    assert moved.entry is not None
    (new,) = moved.entry.messages
    assert new.id > second
    assert new.content == text_content("a \N{REPLACEMENT CHARACTER} how?")
    assert await visible(database, chat) == ["hello", "hi", "a \N{REPLACEMENT CHARACTER} how?"]
    told = await Turns(database).history(chat.id)
    assert [message.id for message in told][-1] == new.id
    assert len(told) == 3
    hidden = await database.fetch(
        "SELECT id FROM chat_messages WHERE superseded_version = $1", moved.chat.version
    )
    assert [row["id"] for row in hidden] == [second, second + 1], "kept, and hidden"


async def test_edit_fences_the_worker_and_drops_its_parts(database: Database) -> None:
    chat = await chat_with_status(database, Status.RUNNING, queued=2, attempts=1, recoveries=1)
    (said,) = await ChatReader(database).messages_after(chat.id, 0, limit=1)
    streams, turns = StreamStore(database), Turns(database)
    await streams.flush_parts(
        [PartBatch(chat.id, 1, 1, [{"index": 0, "type": "text", "text": "x"}])]
    )
    moved = await Messages(database).edit(
        chat.id, said.id, owner_id=OWNER, content=text_content("new")
    )
    assert (moved.chat.epoch, moved.chat.worker_id) == (2, None)
    assert (moved.chat.attempts, moved.chat.recoveries) == (0, 0)
    assert moved.entry is not None
    assert len(moved.entry.data["removed"]) == 2
    assert await queue_of(database, chat) == []
    assert await database.fetch("SELECT FROM chat_parts") == []
    before = await stored_rows(database, chat)
    with pytest.raises(LeaseLost):
        await turns.apply(
            FencingToken(chat.id, WORKER, 1), FinishTurn(step=0, messages=[ANSWER], settled_part=1)
        )
    await streams.flush_parts(
        [PartBatch(chat.id, 1, 2, [{"index": 0, "type": "text", "text": "y"}])]
    )
    assert await database.fetch("SELECT FROM chat_parts") == []
    assert await stored_rows(database, chat) == before
    (claim,) = await Leases(database, worker_id=WORKER).claim(1)
    assert claim.result.chat.epoch == 3


async def test_edit_of_any_other_than_a_user_message_is_refused(database: Database) -> None:
    chat = await chat_with_status(database, Status.WAITING)
    other = await chat_with_status(database, Status.WAITING)
    answered = await say(database, chat, "assistant", "hi")
    system = await say(database, chat, "system", "be brief")
    elsewhere = await say(database, other, "user", "not yours")
    messages = Messages(database)
    for message_id, refusal in (
        (answered, NotAUserMessage),
        (system, NotAUserMessage),
        (elsewhere, MessageNotFound),
        (2**63 - 1, MessageNotFound),
    ):
        with pytest.raises(refusal):
            await messages.edit(chat.id, message_id, owner_id=OWNER, content=text_content("x"))
    first = (await ChatReader(database).messages_after(chat.id, 0, limit=1))[0].id
    await messages.edit(chat.id, first, owner_id=OWNER, content=text_content("x"))
    with pytest.raises(MessageNotFound):  # it is superseded by now
        await messages.edit(chat.id, first, owner_id=OWNER, content=text_content("y"))
    archived = await chat_with_status(database, Status.WAITING, archived=True)
    (said,) = await ChatReader(database).messages_after(archived.id, 0, limit=1)
    with pytest.raises(ChatArchived):
        await messages.edit(archived.id, said.id, owner_id=OWNER, content=text_content("x"))


async def test_edit_that_waited_supersedes_messages_stored_meanwhile(wide: Database) -> None:
    """Its snapshot is older than the answer that it has to hide."""
    chat = await chat_with_status(wide, Status.RUNNING)
    (said,) = await ChatReader(wide).messages_after(chat.id, 0, limit=1)

    async def finish() -> None:
        async with row_locked(wide, chat) as connection:
            waiting = asyncio.ensure_future(edit())
            await wait_until_blocked(connection)
            await connection.execute(
                "INSERT INTO chat_messages (chat_id, version, role, content)"
                " VALUES ($1, 2, 'assistant', $2)",
                chat.id,
                text_content("an answer"),
            )
            await connection.execute(
                "UPDATE chats SET version = version + 1 WHERE id = $1", chat.id
            )
        await waiting

    async def edit() -> None:
        await Messages(wide).edit(chat.id, said.id, owner_id=OWNER, content=text_content("new"))

    await finish()
    assert await visible(wide, chat) == ["new"]


async def test_concurrent_edits_leave_one_branch(wide: Database) -> None:
    chat = await chat_with_status(wide, Status.WAITING)
    (said,) = await ChatReader(wide).messages_after(chat.id, 0, limit=1)

    async def edit(words: str) -> bool:
        try:
            await Messages(wide).edit(chat.id, said.id, owner_id=OWNER, content=text_content(words))
        except MessageNotFound:
            return False
        return True

    won = await gather_all(*(edit(f"edit {n}") for n in range(10)))
    assert won.count(True) == 1
    assert await visible(wide, chat) == [f"edit {won.index(True)}"]


# -- clear -----------------------------------------------------------------------------------------


async def test_clear_keeps_only_the_system_prompt(database: Database) -> None:
    await insert_models(database)
    chats = Chats(database)
    created = await chats.create(
        owner_id=OWNER,
        model_config_id=MODEL,
        content=text_content("hello"),
        system_prompt="be brief",
    )
    await chats.interrupt(created.chat.id, owner_id=OWNER)
    moved = await Messages(database).clear(created.chat.id, owner_id=OWNER)
    assert await visible(database, moved.chat) == ["be brief"]
    assert moved.entry is not None
    assert created.entry is not None
    assert moved.entry.data["reset_from"] == created.entry.messages[1].id
    again = await Messages(database).clear(created.chat.id, owner_id=OWNER)
    assert again.entry is not None
    assert "reset_from" not in again.entry.data


async def test_clear_of_a_failed_chat_drops_error_and_queue(database: Database) -> None:
    chat = await chat_with_status(database, Status.ERROR, queued=2)
    moved = await Messages(database).clear(chat.id, owner_id=OWNER)
    assert (moved.chat.status, moved.chat.last_error) == (Status.WAITING, None)
    assert await queue_of(database, chat) == []
    assert await visible(database, chat) == []


# -- the queue -------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [Status.RUNNING, Status.PENDING, Status.INTERRUPTING])
async def test_promote_moves_the_message_to_the_front(database: Database, status: Status) -> None:
    chat = await chat_with_status(database, status, queued=3)
    first, second, third = await queue_of(database, chat)
    moved = await Queue(database).promote(chat.id, third, owner_id=OWNER)
    assert await queue_of(database, chat) == [third, first, second]
    assert moved.entry is not None
    assert moved.entry.data["head"] == third
    assert moved.chat.queue_length == 3


@pytest.mark.parametrize("status", [Status.ERROR, Status.REQUIRES_ACTION])
async def test_promote_in_a_chat_without_a_turn_stores_the_message(
    database: Database, status: Status
) -> None:
    chat = await chat_with_status(database, status, queued=3)
    first, second, third = await queue_of(database, chat)
    moved = await Queue(database).promote(chat.id, second, owner_id=OWNER)
    assert await queue_of(database, chat) == [first, third]
    assert moved.entry is not None
    assert moved.entry.messages[-1].content == text_content("queued 1")
    assert moved.chat.last_model_config_id == OTHER_MODEL
    results = [m for m in moved.entry.messages if m.role is Role.TOOL]
    assert [part["tool_call_id"] for m in results for part in m.content] == (
        [*PENDING_CALL_IDS] if status is Status.REQUIRES_ACTION else []
    )
    open_calls = await database.fetch("SELECT FROM chat_tool_calls WHERE completed_at IS NULL")
    assert open_calls == []


async def test_promoted_message_is_answered_next(database: Database) -> None:
    chat = await chat_with_status(database, Status.RUNNING, queued=2)
    first, second = await queue_of(database, chat)
    await Queue(database).promote(chat.id, second, owner_id=OWNER)
    moved = await Turns(database).apply(
        FencingToken(chat.id, WORKER, 1), FinishInterrupt(step=0, messages=[ANSWER], settled_part=1)
    )
    assert moved.chat.status is Status.RUNNING
    assert moved.entry is not None
    assert moved.entry.data["promoted"] == second
    assert await queue_of(database, chat) == [first]


async def test_interrupting_message_is_journaled_as_the_head(database: Database) -> None:
    chat = await chat_with_status(database, Status.RUNNING, queued=1)
    moved = await Chats(database).send(
        chat.id, owner_id=OWNER, content=text_content("now"), busy_behavior=BusyBehavior.INTERRUPT
    )
    assert moved.entry is not None
    assert moved.queued_message is not None
    assert moved.entry.data["head"] == moved.entry.data["queued"] == moved.queued_message.id
    assert (await queue_of(database, chat))[0] == moved.queued_message.id


async def test_remove_and_finish_never_both_take_a_queued_message(wide: Database) -> None:
    for _ in range(20):
        chat = await chat_with_status(wide, Status.RUNNING, queued=1)
        (queued,) = await queue_of(wide, chat)

        async def unqueue(chat: Chat = chat, queued: int = queued) -> bool:
            try:
                await Queue(wide).remove(chat.id, queued, owner_id=OWNER)
            except QueuedMessageNotFound:
                return False
            return True

        gone, moved = await gather_all(
            unqueue(),
            Turns(wide).apply(
                FencingToken(chat.id, WORKER, 1),
                FinishTurn(step=0, messages=[ANSWER], settled_part=1),
            ),
        )
        assert moved.chat.status is (Status.WAITING if gone else Status.RUNNING)
        stored = await wide.fetch("SELECT * FROM chat_messages WHERE chat_id = $1", chat.id)
        assert texts(stored) == (["hello"] if gone else ["hello", "queued 0"])


# -- delete ----------------------------------------------------------------------------------------


async def rows_of(database: Database, chat: Chat) -> dict[str, int]:
    tables = await database.fetch(
        "SELECT table_name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND column_name = 'chat_id'"
    )
    found: dict[str, int] = {}
    for (table,) in tables:
        row = await database.fetchrow(f"SELECT count(*) FROM {table} WHERE chat_id = $1", chat.id)
        assert row is not None
        found[table] = row[0]
    return found


@pytest.mark.parametrize("status", list(Status))
async def test_delete_leaves_only_a_tombstone(database: Database, status: Status) -> None:
    chat = await chat_with_status(database, status, queued=0 if status is Status.WAITING else 1)
    await say(database, chat, "assistant", "hi")
    await Chats(database).describe(chat.id, owner_id=OWNER, title="a journal")
    await database.fetch(
        "INSERT INTO chat_parts (chat_id, epoch, first_part, last_part, parts) VALUES ($1, 1, 1, 1, $2)",
        chat.id,
        [{}],
    )
    other = await chat_with_status(database, Status.WAITING)
    gone = await Chats(database).delete(chat.id, owner_id=OWNER)
    assert gone == [(chat.id, chat.version + 1)]
    found = await rows_of(database, chat)
    assert found.pop("chat_tombstones") == 1
    assert set(found.values()) == {0}, found
    assert len(found) >= 6
    assert await visible(database, other) == ["hello"]
    with pytest.raises(ChatNotFound):
        await Chats(database).delete(chat.id, owner_id=OWNER)
    with pytest.raises(LeaseLost):
        await Turns(database).apply(
            FencingToken(chat.id, WORKER, 1), Release(step=0, reason="late")
        )


async def test_delete_removes_descendants_and_keeps_ancestors(database: Database) -> None:
    root = await chat_with_status(database, Status.WAITING)
    more: dict[str, Any] = {"root_chat_id": root.id}
    child = await chat_with_status(database, Status.RUNNING, parent_chat_id=root.id, **more)
    grandchild = await chat_with_status(database, Status.PENDING, parent_chat_id=child.id, **more)
    gone = await Chats(database).delete(child.id, owner_id=OWNER)
    assert {chat_id for chat_id, _ in gone} == {child.id, grandchild.id}
    (left,) = await database.fetch("SELECT id FROM chats")
    assert left["id"] == root.id
    with pytest.raises(ChatNotFound):
        await Chats(database).delete(root.id, owner_id="bob")
    await Chats(database).delete(root.id, owner_id=None)
    assert await database.fetch("SELECT FROM chats") == []


async def test_concurrent_deletes_in_a_tree_delete_each_chat_once(wide: Database) -> None:
    """Whoever deletes what first: nobody waits for ever, and all is gone at the end."""
    root = await chat_with_status(wide, Status.WAITING)
    family = [root]
    for _ in range(6):
        parent = family[-1].id
        family.append(
            await chat_with_status(
                wide, Status.WAITING, parent_chat_id=parent, root_chat_id=root.id
            )
        )

    async def delete(chat: Chat) -> int:
        try:
            return len(await Chats(wide).delete(chat.id, owner_id=OWNER))
        except ChatNotFound:
            return 0

    counts = await gather_all(*(delete(chat) for chat in reversed(family)))
    assert sum(counts) == len(family)
    stones = await wide.fetch("SELECT DISTINCT chat_id FROM chat_tombstones")
    assert {row["chat_id"] for row in stones} == {chat.id for chat in family}


async def test_retry_that_waited_for_the_failure_retries_it(database: Database) -> None:
    """It saw a chat that ran, and locked one that has failed; what it saw must not be judged."""
    chat = await chat_with_status(database, Status.RUNNING)
    async with row_locked(database, chat) as other:
        late = asyncio.create_task(Chats(database).retry(chat.id, owner_id=OWNER))
        await wait_until_blocked(other)
        await other.execute(
            "UPDATE chats SET version = version + 1, status = 'error', last_error = 'no',"
            " worker_id = NULL, started_at = NULL, heartbeat_at = NULL WHERE id = $1",
            chat.id,
        )
    moved = await late
    assert (moved.chat.status, moved.chat.version) == (Status.PENDING, chat.version + 2)
