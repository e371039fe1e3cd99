"""Chats that expire: in no list and no search, and deleted when they are idle, never before."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from support.concurrency import row_locked, wait_until_blocked
from support.factories import (
    MODEL,
    OWNER,
    WORKER,
    chat_with_status,
    insert_models,
    stored_rows,
    text_content,
)
from support.families import child_of, fence_of, reread, spawn_of
from support.sweeps import DAY, delete_expired

from chatd.domain.chat import LEASED, Chat, Status
from chatd.domain.chat_list import ListQuery
from chatd.domain.errors import ChatGone, ChatNotFound
from chatd.store.chat_lists import ChatFilter, ChatLists
from chatd.store.chats import Chats
from chatd.store.children import Children
from chatd.store.commands import FinishTurn
from chatd.store.commits import CommitListener
from chatd.store.database import Database
from chatd.store.message_search import MessageSearch
from chatd.store.sweeps import TOMBSTONES
from chatd.store.turns import FencingToken, Turns

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
IDLE = {Status.WAITING, Status.ERROR, Status.REQUIRES_ACTION}
"""Statuses in which an expired chat is deleted: no worker has it, or is to have it."""


async def ids(database: Database) -> set[UUID]:
    return {row["id"] for row in await database.fetch("SELECT id FROM chats")}


async def expired(database: Database, status: Status = Status.WAITING, **more: Any) -> Chat:
    return await chat_with_status(database, status, expires_at="now", **more)


@pytest.mark.parametrize("status", Status)
async def test_expired_chat_is_deleted_once_it_is_idle(database: Database, status: Status) -> None:
    deleted: list[UUID] = []
    listener = CommitListener(on_delete=lambda chat_id, *_: deleted.append(chat_id))
    chats = Chats(database, listener=listener)
    chat = await expired(database, status)
    kept = [
        await chat_with_status(database, status),
        await chat_with_status(database, status, expires_at=datetime.now(UTC) + timedelta(hours=1)),
    ]
    before = [await stored_rows(database, each) for each in (chat, *kept)]
    assert await chats.delete_expired(limit=10) == (status in IDLE)
    assert await ids(database) - {each.id for each in kept} == ({chat.id} - set(deleted))
    assert (deleted == [chat.id]) is (status in IDLE)
    if status not in IDLE:
        assert [await stored_rows(database, each) for each in (chat, *kept)] == before
    if status in LEASED and status is not Status.INTERRUPTING:
        fence = FencingToken(chat.id, WORKER, chat.epoch)
        await Turns(database).apply(fence, FinishTurn(step=0, messages=[], settled_part=0))
        assert await chats.delete_expired(limit=10) == 1
        assert chat.id not in await ids(database)


async def test_message_that_comes_first_is_answered_first(database: Database) -> None:
    """The chat is found idle, and is not when it is locked: what was accepted is not lost."""
    chat = await expired(database)
    async with row_locked(database, chat) as connection:
        deletion = asyncio.create_task(Chats(database).delete_expired(limit=10))
        await wait_until_blocked(connection)
        await connection.execute(
            "UPDATE chats SET status = 'pending', pending_since = clock_timestamp() WHERE id = $1",
            chat.id,
        )
    await deletion
    assert (await reread(database, chat)).status is Status.PENDING


async def test_family_expires_together(database: Database) -> None:
    parent = await expired(database, Status.RUNNING)
    child = (await Children(database).spawn(fence_of(parent), spawn_of())).chat
    assert child.expires_at == parent.expires_at
    await database.fetch(
        "UPDATE chats SET status = 'waiting', worker_id = NULL, started_at = NULL,"
        " heartbeat_at = NULL WHERE id = $1",
        parent.id,
    )
    chats = Chats(database)
    assert await chats.delete_expired(limit=10) == 0, "the child is pending"
    await chats.interrupt(child.id, owner_id=OWNER)
    idle = await child_of(await expired(database), database, Status.WAITING)
    await database.fetch("UPDATE chats SET expires_at = now() WHERE id = $1", idle.id)
    assert await chats.delete_expired(limit=10) == 2
    assert await ids(database) == set()


async def test_lists_and_search_pass_by(database: Database) -> None:
    await insert_models(database)
    chats, lists, search = Chats(database), ChatLists(database), MessageSearch(database)
    shown, hidden = [
        (
            await chats.create(
                owner_id=OWNER,
                model_config_id=MODEL,
                content=text_content("the blue sky"),
                labels={"a": "b"},
                expires_in_seconds=seconds,
            )
        ).chat
        for seconds in (None, 3600)
    ]
    assert hidden.expires_at is not None
    assert timedelta(minutes=59) < hidden.expires_at - hidden.created_at < timedelta(minutes=61)
    for chat_filter in (
        ChatFilter(),
        ChatFilter(parent="none"),
        ChatFilter(labels=[("a", "b")]),
        ChatFilter(title_contains="sky"),
    ):
        page = await lists.page(owner_id=OWNER, chat_filter=chat_filter)
        assert [chat.id for chat in page] == [shown.id]
    assert await search.unindexed(first_page=0, end_page=100) == [shown.id]
    batch = await search.index([shown.id, hidden.id], limit=10)
    assert (batch.messages, list(batch.unfinished)) == (1, [])
    found = await search.page("blue", owner_id=OWNER, chat_filter=ChatFilter())
    assert [match.chat.id for match in found] == [shown.id]
    for chat in (shown, hidden):
        await chats.delete(chat.id, owner_id=OWNER)
    changes = (await lists.changed_since([ListQuery(OWNER, LONG_AGO)]))[OWNER].changes
    assert [change.chat_id for change in changes] == [shown.id], "nobody had the other in a list"


async def test_fork_is_kept(database: Database) -> None:
    chat = await expired(database)
    forked = (await Chats(database).fork(chat.id, owner_id=OWNER)).chat
    assert forked.expires_at is None
    assert forked.id in {each.id for each in await ChatLists(database).page(owner_id=OWNER)}


async def test_expired_chat_is_not_created_again_by_a_late_request(database: Database) -> None:
    chat = await expired(database)
    chats = Chats(database)
    await chats.delete_expired(limit=10)
    for owner, refusal in ((OWNER, ChatGone), ("bob", ChatNotFound)):
        with pytest.raises(refusal):
            await chats.create(chat_id=chat.id, owner_id=owner, model_config_id=MODEL)
    await database.fetch("UPDATE chat_tombstones SET deleted_at = deleted_at - interval '25 hours'")
    assert await delete_expired(database, TOMBSTONES, retention_seconds=7 * DAY) == 1
    assert await delete_expired(database, TOMBSTONES, retention_seconds=7 * DAY) == 0


async def test_some_are_deleted_at_a_time_the_first_ones_first(database: Database) -> None:
    chats = Chats(database)
    made = [await expired(database) for _ in range(5)]
    assert await chats.delete_expired(limit=3) == 3
    assert await ids(database) == {chat.id for chat in made[3:]}
    assert await chats.delete_expired(limit=3) == 2
