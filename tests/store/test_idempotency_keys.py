"""Requests with an idempotency key: executed once, and answered the same way each time."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from support.concurrency import gather_all, row_locked, wait_until_blocked
from support.factories import (
    MODEL,
    OWNER,
    chat_with_status,
    insert_models,
    text_content,
)
from support.keyed_requests import ASKS, KEY, TABLES, count_rows, set_up

from chatd.domain.chat import Status
from chatd.domain.errors import ChatArchived, IdempotencyKeyReused, NothingToRetry
from chatd.domain.transitions import Transition
from chatd.store.chats import Chats
from chatd.store.database import Database
from chatd.store.idempotency import IdempotencyKey


@pytest.mark.parametrize("move", ASKS)
async def test_repeated_key_returns_stored_response(database: Database, move: Transition) -> None:
    scene, ask = await set_up(database, move)
    first = await ask(scene, KEY)
    before = [await count_rows(database, table) for table in TABLES]
    assert await ask(scene, KEY) == first
    assert [await count_rows(database, table) for table in TABLES] == before


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
    before = await count_rows(database, "chat_events")
    with pytest.raises(IdempotencyKeyReused):
        await chats.send(chat.id, owner_id=OWNER, content=text_content("other"), key=other)
    with pytest.raises(IdempotencyKeyReused):
        await chats.create(owner_id=OWNER, model_config_id=MODEL, key=other)
    assert await count_rows(database, "chat_events") == before
    assert await count_rows(database, "chats") == 1


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
    assert await count_rows(wide, "chat_messages") == 2
