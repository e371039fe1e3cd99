"""Turns that end at the same time leave every table as if each had ended alone, in the order of ids."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest
from support.batches import counted_statements
from support.concurrency import row_locked
from support.eventually import eventually
from support.factories import insert_models
from support.stored_tables import empty_tables, plainly, stored_tables
from support.turn_ends import TurnEnd, make_running_chats, random_ends

from chatd.domain.errors import LeaseLost
from chatd.store.commits import CommitListener
from chatd.store.database import Database
from chatd.store.limits import ChatLimits
from chatd.store.turns import Turns

plain = plainly(None)


class Ends:
    """Stores by which turns end, and what they report."""

    def __init__(self, database: Database, limits: ChatLimits) -> None:
        self.entries: list[Any] = []
        self.admitted: list[Any] = []
        listener = CommitListener(
            on_commit=lambda entries, _: self.entries.extend(entries),
            on_admit=lambda *admitted: self.admitted.append(admitted),
        )
        self.turns = Turns(database, limits=lambda: limits, listener=listener)
        self.ended = 0

    async def end(self, end: TurnEnd) -> Any:
        try:
            return plain(await self.turns.apply(end.fence, end.command))
        except LeaseLost:
            return LeaseLost
        except Exception as error:  # noqa: BLE001 - that of a poisoned chat
            return type(error)
        finally:
            self.ended += 1

    async def stored(self, database: Database) -> Any:
        """Return all that is stored and was reported, but for the order of different chats."""
        self.entries.sort(key=lambda entry: (entry.chat_id, entry.version))
        return plain([await stored_tables(database), self.entries, sorted(self.admitted)])


@pytest.mark.parametrize(
    ("without", "limits"),
    [
        (("poisoned", "locked", "file"), ChatLimits()),
        (("poisoned",), ChatLimits(max_running_per_owner=20)),
        ((), ChatLimits(max_running_per_owner=20)),
    ],
    ids=["plain", "limit", "poisoned"],
)
@pytest.mark.parametrize("seed", range(4))
async def test_turns_that_end_at_the_same_time_end_as_one_by_one(
    database: Database, seed: int, without: Sequence[str], limits: ChatLimits
) -> None:
    await insert_models(database)
    ends = random_ends(seed, without=without)
    await make_running_chats(database, ends)
    single, results = Ends(database, limits), {}
    for end in sorted(ends, key=lambda end: (not end.is_common, end.number)):
        results[end] = await single.end(end)
    stored = await single.stored(database)
    await empty_tables(database)
    made, together = await make_running_chats(database, ends), Ends(database, limits)
    with counted_statements(database) as counts:
        async with AsyncExitStack() as stack:
            locked = [end for end in ends if end.kind == "locked"]
            for end in locked:
                await stack.enter_async_context(row_locked(database, made[end.chat_id]))
            tasks = {end: asyncio.create_task(together.end(end)) for end in ends}
            await eventually(lambda: together.ended == len(ends) - len(locked))
        assert {end: await task for end, task in tasks.items()} == results
    assert await together.stored(database) == stored
    kinds = {end.kind for end in ends}
    assert counts["turns.finish_turn"] == 1 or kinds & {"file", "poisoned"}
    assert together.admitted
