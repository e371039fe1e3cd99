"""Deleted chats: a tombstone is left, and no row of the chat or of its descendants."""

from typing import Any

import pytest
from support.concurrency import gather_all
from support.factories import OWNER, WORKER, chat_with_status
from support.stored_messages import insert_message, visible_texts

from chatd.domain.chat import Chat, Status
from chatd.domain.errors import ChatNotFound, LeaseLost
from chatd.store.chats import Chats
from chatd.store.commands import Release
from chatd.store.database import Database
from chatd.store.turns import FencingToken, Turns


async def row_counts(database: Database, chat: Chat) -> dict[str, int]:
    tables = await database.fetch(
        "SELECT table_name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND column_name = 'chat_id'"
    )
    counts: dict[str, int] = {}
    for (table,) in tables:
        row = await database.fetchrow(f"SELECT count(*) FROM {table} WHERE chat_id = $1", chat.id)
        assert row is not None
        counts[table] = row[0]
    return counts


@pytest.mark.parametrize("status", list(Status))
async def test_delete_leaves_only_a_tombstone(database: Database, status: Status) -> None:
    chat = await chat_with_status(database, status, queued=0 if status is Status.WAITING else 1)
    await insert_message(database, chat, "assistant", "hi")
    await Chats(database).describe(chat.id, owner_id=OWNER, title="a journal")
    await database.fetch(
        "INSERT INTO chat_parts (chat_id, epoch, first_part, last_part, parts) VALUES ($1, 1, 1, 1, $2)",
        chat.id,
        [{}],
    )
    other = await chat_with_status(database, Status.WAITING)
    removed = await Chats(database).delete(chat.id, owner_id=OWNER)
    assert removed == [(chat.id, chat.version + 1)]
    counts = await row_counts(database, chat)
    assert counts.pop("chat_tombstones") == 1
    assert set(counts.values()) == {0}, counts
    assert len(counts) >= 6
    assert await visible_texts(database, other) == ["hello"]
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
    removed = await Chats(database).delete(child.id, owner_id=OWNER)
    assert {chat_id for chat_id, _ in removed} == {child.id, grandchild.id}
    (remaining,) = await database.fetch("SELECT id FROM chats")
    assert remaining["id"] == root.id
    with pytest.raises(ChatNotFound):
        await Chats(database).delete(root.id, owner_id="bob")
    await Chats(database).delete(root.id, owner_id=root.owner_id)
    assert await database.fetch("SELECT FROM chats") == []


async def test_concurrent_deletes_in_a_tree_delete_each_chat_once(wide: Database) -> None:
    """In any order of the deletes, none waits for ever, and no chat is left."""
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
    tombstones = await wide.fetch("SELECT DISTINCT chat_id FROM chat_tombstones")
    assert {row["chat_id"] for row in tombstones} == {chat.id for chat in family}
