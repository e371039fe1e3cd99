"""Replays under an idempotency key after the rows have changed, and the end of keys."""

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from support.factories import (
    MODEL,
    OWNER,
    chat_with_status,
    insert_models,
    text_content,
)
from support.keyed_requests import ASKS, KEY, count_rows, set_up
from support.sweeps import DAY, delete_expired

from chatd.domain.chat import Status
from chatd.domain.errors import ChatNotFound
from chatd.domain.transitions import Transition
from chatd.store.chats import Chats
from chatd.store.database import Database
from chatd.store.idempotency import IdempotencyStore
from chatd.store.messages import Messages
from chatd.store.queue import Queue
from chatd.store.sweeps import IDEMPOTENCY_KEYS


async def test_repeat_after_delete_is_chat_not_found(database: Database) -> None:
    await insert_models(database)
    chats = Chats(database)

    async def create() -> Any:
        return await chats.create(
            owner_id=OWNER, model_config_id=MODEL, content=text_content("a secret"), key=KEY
        )

    created = await create()
    await chats.delete(created.chat.id, owner_id=OWNER)
    with pytest.raises(ChatNotFound, match=str(created.chat.id)):
        await create()
    assert await count_rows(database, "chats") == 0
    (row,) = await database.fetch("SELECT chat_id FROM idempotency_keys")
    assert row["chat_id"] == created.chat.id


@pytest.mark.parametrize("move", ASKS)
async def test_key_holds_no_content(database: Database, move: Transition) -> None:
    """Words of a message, a title or labels would outlive what is deleted or edited."""
    scene, ask = await set_up(database, move)
    await ask(scene, KEY)
    (row,) = await database.fetch("SELECT * FROM idempotency_keys")
    ids = {"owner_id", "key", "request_hash", "chat_id", "version", "message_ids", "queued_id"}
    assert set(row.keys()) == {*ids, "created_at"}, "add ids and versions only"


async def test_repeat_after_edit_is_answered_from_the_rows_as_they_are(database: Database) -> None:
    await insert_models(database)
    chats = Chats(database)

    async def create() -> Any:
        return await chats.create(
            owner_id=OWNER, model_config_id=MODEL, content=text_content("before"), key=KEY
        )

    created = await create()
    chat_id, (said,) = created.chat.id, created.messages
    edited = await Messages(database).edit(
        chat_id, said.id, owner_id=OWNER, content=text_content("after")
    )
    again = await create()
    assert again.chat == edited.chat
    assert again.messages == (replace(said, superseded=True),)
    assert again.entry == replace(created.entry, messages=again.messages)


async def test_repeat_after_the_queued_message_left_the_queue(database: Database) -> None:
    chats = Chats(database)
    chat = await chat_with_status(database, Status.RUNNING)

    async def send() -> Any:
        return await chats.send(chat.id, owner_id=OWNER, content=text_content("more"), key=KEY)

    queued = (await send()).queued_message
    assert (await send()).queued_message == queued
    await Queue(database).remove(chat.id, queued.id, owner_id=OWNER)
    again = await send()
    assert again.queued_message == replace(queued, created_at=again.queued_message.created_at)
    assert again.chat.queue_length == 0
    assert await count_rows(database, "chat_queued_messages") == 0


async def test_repeat_after_the_journal_was_pruned(database: Database) -> None:
    chats = Chats(database)
    chat = await chat_with_status(database, Status.WAITING)

    async def send() -> Any:
        return await chats.send(chat.id, owner_id=OWNER, content=text_content("more"), key=KEY)

    sent = await send()
    await database.fetch("DELETE FROM chat_events")
    again = await send()
    assert (again.entry, again.messages, again.chat) == (None, sent.messages, sent.chat)


async def test_keys_are_pruned_after_their_retention(database: Database) -> None:
    await insert_models(database)
    chats, keys = Chats(database), IdempotencyStore(database)
    ids: list[UUID] = []
    for name in ("old", "new"):
        key = replace(KEY, key=name)
        ids.append((await chats.create(owner_id=OWNER, model_config_id=MODEL, key=key)).chat.id)
    await database.fetch(
        "UPDATE idempotency_keys SET created_at = created_at - interval '25 hours' WHERE key = 'old'"
    )
    assert await delete_expired(database, IDEMPOTENCY_KEYS, retention_seconds=DAY) == 1
    assert await keys.lookup(replace(KEY, key="old")) is None
    assert await keys.lookup(replace(KEY, key="new")) is not None
    assert await delete_expired(database, IDEMPOTENCY_KEYS, retention_seconds=DAY) == 0


async def test_replay_is_the_same_in_any_time_zone(dsn: str) -> None:
    database = Database(dsn, pool_size=2)
    await database.open()
    try:
        await insert_models(database)
        await database.fetch(
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET timezone TO %L',"
            " current_database(), 'Asia/Kolkata'); END $$"
        )
        await database.expire_connections()
        chats = Chats(database)
        first, again = [
            await chats.create(
                owner_id=OWNER, model_config_id=MODEL, content=text_content("hello"), key=KEY
            )
            for _ in "ab"
        ]
        setting = await database.fetchrow(
            "SELECT setconfig FROM pg_db_role_setting"
            " WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        assert setting is not None
        assert setting["setconfig"] == ["TimeZone=Asia/Kolkata"]
        assert first == again
        assert str(first.chat.created_at) == str(again.chat.created_at)
        assert first.entry is not None
        assert again.entry is not None
        assert str(first.entry.messages[0].created_at) == str(again.entry.messages[0].created_at)
    finally:
        await database.close()
