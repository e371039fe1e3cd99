"""Deadlines of required actions: an overdue call gets an error as its result."""

import asyncio
from uuid import uuid4

from support.concurrency import WAIT_SECONDS, gather_all, row_locked
from support.factories import PENDING_CALL_IDS, chat_with_status
from support.tool_results import stored_tool_calls

from chatd.domain.chat import Status
from chatd.store.database import Database
from chatd.store.reaps import Reaps
from chatd.store.records import TransitionResult
from chatd.store.tool_calls import ToolCalls


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
