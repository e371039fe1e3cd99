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
from support.concurrency import gather_all
from support.eventually import eventually
from support.factories import chat_with_status, insert_models, text_content
from support.stored_tables import empty_tables, plainly, stored_tables

from chatd.domain.chat import Status
from chatd.domain.errors import ChatdError, TooManyActiveChats
from chatd.store.database import Database
from chatd.store.limits import ChatLimits

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


CHATS = 12
"""Chats of each of two owners, to which messages come at the same time."""


@pytest.mark.parametrize(
    ("limits", "claims", "refused", "statements"),
    [
        (ChatLimits(max_active_chats=5, max_running_per_owner=5), 5, True, 2 * CHATS),
        (ChatLimits(max_running_per_owner=5), 5, False, 2 * CHATS),
        (ChatLimits(max_active_chats=256 + CHATS), CHATS, False, 1 + 2 * CHATS),
        (ChatLimits(max_active_chats=257 + CHATS, max_running_per_owner=300), CHATS, False, 1),
    ],
    ids=["refused", "held", "near", "far"],
)
async def test_messages_near_a_limit_are_counted_one_by_one(
    wide: Database, limits: ChatLimits, claims: int, refused: bool, statements: int
) -> None:
    """Two owners are near their limits, so no statement may lock both of them."""
    way = Way(wide, Case(name="near", claims=True, limits=limits))
    chats = way.chats(claim_on_send=True)
    made = [
        await chat_with_status(wide, Status.WAITING, owner_id=owner_id)
        for owner_id in ("ann", "bob")
        for _ in range(CHATS)
    ]
    with counted_statements(wide) as counts:
        results = await gather_all(
            *(
                outcome(chats.send(chat.id, owner_id=chat.owner_id, content=text_content("go")))
                for chat in made
            )
        )
    assert counts["claims.send_and_claim"] == statements
    assert len(way.claims) == 2 * claims
    errors = [result[0] for result in results if isinstance(result, tuple)]
    assert errors == [TooManyActiveChats] * (2 * (CHATS - claims) if refused else 0)
    held = await wide.fetch("SELECT owner_id FROM chats WHERE held ORDER BY 1")
    assert len(held) == (0 if refused else 2 * (CHATS - claims))


async def test_large_message_goes_alone(database: Database) -> None:
    await insert_models(database)
    way = Way(database, Case(name="large", claims=True))
    chats = way.chats(claim_on_send=True)
    made = [await chat_with_status(database, Status.WAITING) for _ in range(3)]
    large = "".join(map(str, range(20_000)))
    ones = tuple({"type": "data", "data": [1] * 10} for _ in range(1_600))
    with counted_statements(database) as counts:
        await gather_all(
            *(
                chats.send(chat.id, owner_id=chat.owner_id, content=content)
                for chat, content in zip(
                    made, (text_content("go"), text_content(large), ones), strict=True
                )
            )
        )
    assert len(way.claims) == 3
    assert counts["claims.send_and_claim"] == 3, "the third is short as a text only"
