"""Deadlines of required actions: an overdue call gets an error as its result."""

import asyncio
from uuid import uuid4

from support.claims import claim_chats
from support.concurrency import (
    WAIT_SECONDS,
    fencing_token,
    gather_all,
    row_locked,
    wait_until_blocked,
)
from support.factories import PENDING_CALL_IDS, chat_with_status
from support.tool_results import stored_tool_calls, submit_results, tool_results
from support.transitions import CALLS, REQUIRED_ACTION

from chatd.domain.chat import Status
from chatd.store.commands import RequireAction
from chatd.store.database import Database
from chatd.store.reaps import Reaps
from chatd.store.records import TransitionResult
from chatd.store.tool_calls import ToolCalls
from chatd.store.turns import Turns


async def test_only_overdue_chats_expire(database: Database) -> None:
    overdue = await chat_with_status(database, Status.REQUIRES_ACTION)
    waiting = await chat_with_status(database, Status.REQUIRES_ACTION)
    await database.fetch(
        "UPDATE chats SET action_deadline = clock_timestamp() + interval '1 minute' WHERE id = $1",
        waiting.id,
    )
    reaps = Reaps(database, worker_id=uuid4())
    assert (await reaps.look(lease_seconds=20)).action_overdue
    (result,) = await ToolCalls(database).expire()
    assert result.chat.id == overdue.id
    assert result.chat.pending_since is not None
    _, messages, ledger = await stored_tool_calls(database, overdue.id)
    assert [(p["tool_call_id"], p["result"]) for p in messages[-1]["content"]] == [
        (call_id, "timed out") for call_id in PENDING_CALL_IDS
    ]
    assert {p["is_error"] for p in messages[-1]["content"]} == {True}
    assert {row["is_error"] for row in ledger} == {True}
    await stored_tool_calls(database, waiting.id)
    assert not (await reaps.look(lease_seconds=20)).action_overdue


async def test_expire_skips_locked_chats(database: Database) -> None:
    locked, free = [await chat_with_status(database, Status.REQUIRES_ACTION) for _ in range(2)]
    async with row_locked(database, locked), asyncio.timeout(WAIT_SECONDS):
        assert [result.chat.id for result in await ToolCalls(database).expire()] == [free.id]
    assert [result.chat.id for result in await ToolCalls(database).expire()] == [locked.id]


HELD_CLOCK = """
CREATE FUNCTION held.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
AS 'SELECT pg_advisory_xact_lock_shared(1); SELECT pg_catalog.clock_timestamp()'
"""


async def test_chat_that_changed_before_its_lock_is_left_to_the_next_run(
    database: Database, dsn: str
) -> None:
    """The statement waits after it took its snapshot. Meanwhile the chat comes to wait for other calls."""
    chat = await chat_with_status(database, Status.REQUIRES_ACTION)
    await database.fetch("CREATE SCHEMA held")
    await database.fetch(HELD_CLOCK)
    holding = Database(f"{dsn}?search_path=held%2Cpublic%2Cpg_catalog", pool_size=1)
    async with database.dedicated_connection() as other:
        await other.execute("SELECT pg_advisory_lock(1)")
        await holding.open()
        expiry = asyncio.create_task(ToolCalls(holding).expire())
        await wait_until_blocked(other)
        await submit_results(database, chat, tool_results(*PENDING_CALL_IDS))
        (claim,) = await claim_chats(database, 1)
        overdue = RequireAction(**REQUIRED_ACTION | {"timeouts": {"result": -1.0}})
        waiting = await Turns(database).apply(fencing_token(claim.result), overdue)
        await other.execute("SELECT pg_advisory_unlock(1)")
        assert await expiry == []
    await holding.close()
    (result,) = await ToolCalls(database).expire()
    assert result.chat.version == waiting.chat.version + 1
    _, messages, _ = await stored_tool_calls(database, chat.id)
    assert [part["tool_call_id"] for part in messages[-1]["content"]] == [
        call["tool_call_id"] for call in CALLS
    ]


async def test_concurrent_expiries_answer_each_chat_once(wide: Database) -> None:
    chats = [await chat_with_status(wide, Status.REQUIRES_ACTION) for _ in range(30)]

    async def expire() -> list[TransitionResult]:
        return await ToolCalls(wide).expire(limit=7)

    results: list[TransitionResult] = []
    while True:
        expired = [
            result
            for answer in await gather_all(*(expire() for _ in range(5)))
            for result in answer
        ]
        if not expired:
            break
        results += expired
    assert sorted(result.chat.id for result in results) == sorted(chat.id for chat in chats)
    for chat in chats:
        await stored_tool_calls(wide, chat.id)
