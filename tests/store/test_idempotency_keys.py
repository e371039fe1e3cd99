"""Requests with an idempotency key: executed once, and answered the same way each time."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import pytest
from support.concurrency import gather_all, row_locked, wait_until_blocked
from support.factories import (
    MODEL,
    OWNER,
    PENDING_CALL_IDS,
    chat_with_status,
    insert_models,
    text_content,
)
from support.sweeps import DAY, delete_expired
from support.tool_results import tool_results

from chatd.domain.chat import Chat, Status
from chatd.domain.errors import ChatArchived, ChatNotFound, IdempotencyKeyReused, NothingToRetry
from chatd.domain.transitions import Transition
from chatd.store.chats import Chats
from chatd.store.database import Database
from chatd.store.idempotency import IdempotencyKey, IdempotencyStore
from chatd.store.messages import Messages
from chatd.store.queue import Queue
from chatd.store.sweeps import IDEMPOTENCY_KEYS
from chatd.store.tool_calls import ToolCalls

KEY = IdempotencyKey(OWNER, "one", b"fingerprint")


@dataclass(frozen=True)
class Scene:
    """A chat, a message of its history, and a queued message if there is one."""

    database: Database
    chat: Chat
    message_id: int
    queued: int

    @property
    def chats(self) -> Chats:
        return Chats(self.database)


Ask = Callable[[Scene, IdempotencyKey], Awaitable[Any]]


async def set_up(database: Database, move: Transition) -> tuple[Scene, Ask]:
    status, ask = ASKS[move]
    chat = await chat_with_status(database, status, queued=1 if move is Transition.PROMOTE else 0)
    row = await database.fetchrow(
        "SELECT (SELECT min(id) FROM chat_messages), (SELECT min(id) FROM chat_queued_messages)"
    )
    assert row is not None
    return Scene(database, chat, row[0], row[1] or 0), ask


ASKS: dict[Transition, tuple[Status, Ask]] = {
    Transition.CREATE: (
        Status.WAITING,
        lambda scene, key: scene.chats.create(
            owner_id=OWNER, model_config_id=MODEL, content=text_content("hello"), key=key
        ),
    ),
    Transition.SEND: (
        Status.WAITING,
        lambda scene, key: scene.chats.send(
            scene.chat.id, owner_id=OWNER, content=text_content("more"), key=key
        ),
    ),
    Transition.INTERRUPT: (
        Status.PENDING,
        lambda scene, key: scene.chats.interrupt(scene.chat.id, owner_id=OWNER, key=key),
    ),
    Transition.RETRY: (
        Status.ERROR,
        lambda scene, key: scene.chats.retry(scene.chat.id, owner_id=OWNER, key=key),
    ),
    Transition.DESCRIBE: (
        Status.RUNNING,
        lambda scene, key: scene.chats.describe(
            scene.chat.id, owner_id=OWNER, title="new", key=key
        ),
    ),
    Transition.ARCHIVE: (
        Status.WAITING,
        lambda scene, key: scene.chats.archive(
            scene.chat.id, owner_id=OWNER, title="old", labels={"a": "b"}, key=key
        ),
    ),
    Transition.EDIT: (
        Status.RUNNING,
        lambda scene, key: Messages(scene.database).edit(
            scene.chat.id,
            scene.message_id,
            owner_id=OWNER,
            content=text_content("instead"),
            key=key,
        ),
    ),
    Transition.CLEAR: (
        Status.ERROR,
        lambda scene, key: Messages(scene.database).clear(scene.chat.id, owner_id=OWNER, key=key),
    ),
    Transition.SUBMIT_TOOL_RESULTS: (
        Status.REQUIRES_ACTION,
        lambda scene, key: ToolCalls(scene.database).submit(
            scene.chat.id, owner_id=OWNER, results=tool_results(*PENDING_CALL_IDS), key=key
        ),
    ),
    Transition.PROMOTE: (
        Status.ERROR,
        lambda scene, key: Queue(scene.database).promote(
            scene.chat.id, scene.queued, owner_id=OWNER, key=key
        ),
    ),
}


async def count(database: Database, table: str) -> int:
    row = await database.fetchrow(f"SELECT count(*) AS n FROM {table}")
    assert row is not None
    return int(row["n"])


TABLES = ("chats", "chat_messages", "chat_events", "idempotency_keys")


@pytest.mark.parametrize("move", ASKS)
async def test_repeated_key_returns_stored_response(database: Database, move: Transition) -> None:
    scene, ask = await set_up(database, move)
    first = await ask(scene, KEY)
    before = [await count(database, table) for table in TABLES]
    assert await ask(scene, KEY) == first
    assert [await count(database, table) for table in TABLES] == before


@pytest.mark.parametrize("move", ASKS)
async def test_concurrent_repeats_have_one_effect(wide: Database, move: Transition) -> None:
    scene, ask = await set_up(wide, move)
    answers = await gather_all(*(ask(scene, KEY) for _ in range(20)))
    assert all(answer == answers[0] for answer in answers)
    rows = await wide.fetch("SELECT FROM chat_events WHERE transition = $1", move.value)
    assert len(rows) == 1


async def test_repeat_of_an_unneeded_interrupt_stops_no_later_turn(
    database: Database,
) -> None:
    """The first response was lost. A turn that began since must not be interrupted."""
    chat = await chat_with_status(database, Status.WAITING)
    chats = Chats(database)
    first = await chats.interrupt(chat.id, owner_id=OWNER, key=KEY)
    assert first.entry is None
    sent = await chats.send(chat.id, owner_id=OWNER, content=text_content("go on"))
    assert sent.chat.status is Status.PENDING
    repeated = await chats.interrupt(chat.id, owner_id=OWNER, key=KEY)
    assert (repeated.entry, repeated.chat) == (None, sent.chat)
    again = await chats.interrupt(chat.id, owner_id=OWNER)
    assert again.chat.version == sent.chat.version + 1


async def test_repeat_of_a_success_is_never_refused(database: Database) -> None:
    chats = Chats(database)
    chat = await chat_with_status(database, Status.WAITING)
    sent = await chats.send(chat.id, owner_id=OWNER, content=text_content("more"), key=KEY)
    await chats.interrupt(chat.id, owner_id=OWNER)
    await chats.archive(chat.id, owner_id=OWNER)
    again = await chats.send(chat.id, owner_id=OWNER, content=text_content("more"), key=KEY)
    assert (again.entry, again.messages) == (sent.entry, sent.messages)
    assert again.chat.archived, "the chat as it is now"
    with pytest.raises(ChatArchived):
        await chats.send(
            chat.id, owner_id=OWNER, content=text_content("x"), key=replace(KEY, key="two")
        )


async def test_refusal_is_not_stored(database: Database) -> None:
    chats = Chats(database)
    chat = await chat_with_status(database, Status.PENDING)
    with pytest.raises(NothingToRetry):
        await chats.retry(chat.id, owner_id=OWNER, key=KEY)
    await database.fetch(
        "UPDATE chats SET status = 'error', last_error = 'x', pending_since = NULL WHERE id = $1",
        chat.id,
    )
    assert (await chats.retry(chat.id, owner_id=OWNER, key=KEY)).chat.status is Status.PENDING


async def test_other_request_with_a_used_key_is_refused(database: Database) -> None:
    chats = Chats(database)
    chat = await chat_with_status(database, Status.WAITING)
    await chats.send(chat.id, owner_id=OWNER, content=text_content("more"), key=KEY)
    other = replace(KEY, request_hash=b"something else")
    before = await count(database, "chat_events")
    with pytest.raises(IdempotencyKeyReused):
        await chats.send(chat.id, owner_id=OWNER, content=text_content("other"), key=other)
    with pytest.raises(IdempotencyKeyReused):
        await chats.create(owner_id=OWNER, model_config_id=MODEL, key=other)
    assert await count(database, "chat_events") == before
    assert await count(database, "chats") == 1


async def test_keys_are_per_owner(database: Database) -> None:
    await insert_models(database)
    chats = Chats(database)
    chat_ids = {
        (
            await chats.create(
                owner_id=name, model_config_id=MODEL, key=IdempotencyKey(name, "one", b"f")
            )
        ).chat.id
        for name in ("ann", "bob")
    }
    assert len(chat_ids) == 2


async def test_duplicate_waits_for_the_first_request_and_gets_its_response(wide: Database) -> None:
    """Two requests wait for the lock of the chat. The second then finds the response of the first."""
    chat = await chat_with_status(wide, Status.WAITING)
    chats = Chats(wide)

    async def both() -> list[Any]:
        return await gather_all(
            *(
                chats.send(chat.id, owner_id=OWNER, content=text_content("more"), key=KEY)
                for _ in "ab"
            )
        )

    async def hold() -> None:
        async with row_locked(wide, chat) as connection:
            held.set_result(None)
            await wait_until_blocked(connection, 2)

    held: Any = asyncio.get_running_loop().create_future()

    async def then() -> list[Any]:
        await held
        return await both()

    _, answers = await gather_all(hold(), then())
    assert answers[0] == answers[1]
    assert await count(wide, "chat_messages") == 2


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
    assert await count(database, "chats") == 0
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
    assert await count(database, "chat_queued_messages") == 0


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
