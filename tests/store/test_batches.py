"""Statements for many chats leave every table as the same requests one by one, in the order of ids."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest
from support.batches import (
    MODELS,
    SentMessage,
    counted_statements,
    lock_chats,
    make_chats,
    random_messages,
)
from support.claim_on_send import Case, Way
from support.eventually import eventually
from support.factories import insert_models
from support.stored_tables import empty_tables, plainly, stored_tables

from chatd.domain.errors import ChatdError
from chatd.store.database import Database

plain = plainly(None)


async def outcome(sending: Any) -> Any:
    try:
        return plain(await sending)
    except ChatdError as error:
        return type(error), str(error)
    except Exception as error:  # noqa: BLE001 - that of a poisoned chat
        return type(error)


def in_order(messages: Sequence[SentMessage]) -> list[SentMessage]:
    """Return messages in the order that a batch stands for: those of the batch by id, then the rest."""
    return sorted(messages, key=lambda m: (m.again, not m.claims, m.number))


async def stored(database: Database, way: Way, *, with_rounds: bool) -> Any:
    """Return all that is stored and was published, but for the order of different chats."""
    tables: Any = plain(await stored_tables(database))
    claimed = {str(claim.result.chat.id) for claim in way.claims}
    for chat in tables["chats"]:
        if not (with_rounds and chat["id"] in claimed):
            chat["round"] = None  # as the statements for single messages happened to come
    entries = sorted(way.entries, key=lambda entry: (entry.chat_id, entry.version))
    claims = sorted(way.claims, key=lambda claim: claim.result.chat.id)
    return tables, plain(entries), [plain(claim.result.chat) for claim in claims]


async def by_single_statements(database: Database, messages: Sequence[SentMessage]) -> Any:
    await empty_tables(database)
    await make_chats(database, messages)
    way = Way(database, Case(name="single", claims=True, models=MODELS, advance=False))
    results = {}
    for message in in_order(messages):
        chats = way.chats(claim_on_send=message.kind != "locked")
        results[message] = await outcome(message.send(chats))
    return results, way


async def by_one_statement(database: Database, messages: Sequence[SentMessage]) -> Any:
    await empty_tables(database)
    made = await make_chats(database, messages)
    way = Way(database, Case(name="batch", claims=True, models=MODELS, advance=False))
    chats = way.chats(claim_on_send=True)
    with counted_statements(database) as counts:
        async with AsyncExitStack() as stack:
            await lock_chats(stack, database, messages, made)
            sending = [asyncio.create_task(outcome(m.send(chats))) for m in messages]
            await eventually(lambda: len(way.claims) + counts["chats.send"] >= len(messages))
        results = dict(zip(messages, [await task for task in sending], strict=True))
    return results, way, counts


@pytest.mark.parametrize("poison", [False, True], ids=["sound", "poisoned"])
@pytest.mark.parametrize("seed", range(6))
async def test_messages_at_the_same_time_are_stored_as_one_by_one(
    database: Database, seed: int, poison: bool
) -> None:
    await insert_models(database)
    messages = random_messages(seed, without=() if poison else ["poisoned"])
    poisoned = any(message.kind == "poisoned" for message in messages)
    results, way = await by_single_statements(database, messages)
    single = await stored(database, way, with_rounds=not poisoned)
    claims = {claim.result.chat.id for claim in way.claims}
    assert claims == {message.chat_id for message in messages if message.claims}
    together, way, counts = await by_one_statement(database, messages)
    assert together == results
    assert await stored(database, way, with_rounds=not poisoned) == single
    again = any(message.again for message in messages)
    if not poisoned:
        assert counts["claims.send_and_claim"] == 1 + again
