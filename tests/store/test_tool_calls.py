"""Results of tools that the client runs: taken once, all of them, in the order of the calls."""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any
from uuid import UUID, uuid4

import pytest
from support.concurrency import WAIT_SECONDS, gather_all, row_locked, wait_until_blocked
from support.factories import (
    OWNER,
    PENDING_CALL_IDS,
    WORKER,
    chat_with_status,
    insert_tool_calls,
    stored_rows,
    text_content,
    tool_call_content,
)
from support.invariants import check_calls

from chatd.domain.chat import BusyBehavior, Chat, Status
from chatd.domain.errors import NoActionRequired, Refused, ToolCallUnknown, ToolResultsMissing
from chatd.domain.message import NewMessage, PendingToolCall, Role
from chatd.domain.transitions import Transition
from chatd.store.chats import Chats
from chatd.store.commands import RequireAction
from chatd.store.database import Database
from chatd.store.leases import Leases
from chatd.store.records import TransitionResult
from chatd.store.tool_calls import ToolCalls, ToolResult
from chatd.store.turns import FencingToken, Turns


def results(*ids: str) -> list[ToolResult]:
    return [ToolResult(tool_call_id=one, result={"of": one}) for one in ids]


async def submit(database: Database, chat: Chat, given: Sequence[ToolResult]) -> TransitionResult:
    return await ToolCalls(database).submit(chat.id, owner_id=OWNER, results=given)


async def stored(database: Database, chat_id: UUID) -> tuple[Any, list[Any], list[Any]]:
    """Return the chat, its messages and its ledger, and check that they agree."""
    (chat,) = await database.fetch("SELECT * FROM chats WHERE id = $1", chat_id)
    messages = await database.fetch(
        "SELECT * FROM chat_messages WHERE chat_id = $1 ORDER BY id", chat_id
    )
    ledger = await database.fetch(
        "SELECT * FROM chat_tool_calls WHERE chat_id = $1 ORDER BY message_id, position", chat_id
    )
    check_calls(chat, messages, ledger)
    return chat, messages, ledger


# -- handed in ---------------------------------------------------------------------------------------


async def test_results_are_stored_in_the_order_of_the_calls(database: Database) -> None:
    chat = await chat_with_status(database, Status.REQUIRES_ACTION, queued=1)
    given = [
        ToolResult(tool_call_id="c1", result="a \x00 b", is_error=True),
        ToolResult(tool_call_id="c2", result=None),
        ToolResult(tool_call_id="c3", result=[1.5, {"\ud800": float("inf")}]),
    ]
    moved = await submit(database, chat, given)
    assert moved.chat.action_deadline is None
    assert moved.chat.pending_since is not None
    assert moved.chat.queue_length == 1
    assert moved.entry is not None
    (message,) = moved.entry.messages
    assert message.role is Role.TOOL
    shown = [(p["tool_call_id"], p["result"], p["is_error"]) for p in message.content]
    assert shown == [
        ("c2", None, False),
        ("c1", "a \N{REPLACEMENT CHARACTER} b", True),
        ("c3", [1.5, {"\N{REPLACEMENT CHARACTER}": None}], False),
    ]
    assert {p["type"] for p in message.content} == {"tool-result"}
    assert {p["tool_name"] for p in message.content} == {"weather"}
    assert "of" not in str(moved.entry.data), "the journal has ids, and never what was said"
    _, _, ledger = await stored(database, chat.id)
    assert [row["is_error"] for row in ledger] == [False, True, False]


@pytest.mark.parametrize(
    ("ids", "refusal", "named"),
    [
        (["c2", "c1"], ToolResultsMissing, "c3"),
        (["c1"], ToolResultsMissing, "c2, c3"),
        ([*PENDING_CALL_IDS, "z", "y"], ToolCallUnknown, "z, y"),
        (["z"], ToolCallUnknown, "z"),
        ([*PENDING_CALL_IDS, "c1"], ToolCallUnknown, "c1"),
        ([*PENDING_CALL_IDS, *(f"x{n}" for n in range(40))], ToolCallUnknown, "x9 and 30 more"),
    ],
)
async def test_results_must_match_the_open_calls(
    database: Database, ids: list[str], refusal: type[Refused], named: str
) -> None:
    chat = await chat_with_status(database, Status.REQUIRES_ACTION)
    before = await stored_rows(database, chat)
    with pytest.raises(refusal, match=f"{named}\\.$"):
        await submit(database, chat, results(*ids))
    assert await stored_rows(database, chat) == before


async def test_results_are_accepted_once(database: Database) -> None:
    chat = await chat_with_status(database, Status.REQUIRES_ACTION)
    await submit(database, chat, results(*PENDING_CALL_IDS))
    before = await stored_rows(database, chat)
    with pytest.raises(NoActionRequired, match=r"is not waiting for tool results\.$"):
        await submit(database, chat, results(*PENDING_CALL_IDS))
    assert await stored_rows(database, chat) == before


async def test_concurrent_submissions_have_one_effect(wide: Database) -> None:
    chat = await chat_with_status(wide, Status.REQUIRES_ACTION)

    async def one(number: int) -> int | None:
        given = [ToolResult(tool_call_id=call, result=number) for call in PENDING_CALL_IDS]
        try:
            await submit(wide, chat, given)
        except NoActionRequired:
            return None
        return number

    won = [number for number in await gather_all(*map(one, range(20))) if number is not None]
    assert len(won) == 1
    row, messages, _ = await stored(wide, chat.id)
    assert row["version"] == chat.version + 1
    assert [part["result"] for part in messages[-1]["content"]] == won * len(PENDING_CALL_IDS)


async def test_submission_that_waited_is_checked_against_the_present_calls(
    database: Database,
) -> None:
    """Its snapshot shows calls that are settled; what it locked waits for others."""
    chat = await chat_with_status(database, Status.REQUIRES_ACTION)
    async with row_locked(database, chat) as other:
        late = asyncio.create_task(submit(database, chat, results(*PENDING_CALL_IDS)))
        await wait_until_blocked(other)
        await other.execute(
            "UPDATE chat_tool_calls SET completed_at = clock_timestamp(), is_error = true"
            " WHERE chat_id = $1 AND completed_at IS NULL",
            chat.id,
        )
        await other.execute("UPDATE chats SET version = version + 2 WHERE id = $1", chat.id)
        await other.execute(
            "INSERT INTO chat_tool_calls"
            " (chat_id, message_id, tool_call_id, tool_name, position, executor, epoch)"
            " SELECT chat_id, id, 'other', 'weather', 9, 'client', 0 FROM chat_messages"
            " WHERE chat_id = $1 AND role = 'assistant'",
            chat.id,
        )
    async with asyncio.timeout(WAIT_SECONDS):
        with pytest.raises(ToolCallUnknown):
            await late


# -- asked for ---------------------------------------------------------------------------------------


def asking(*ids: str) -> dict[str, Any]:
    made = tool_call_content(*ids)
    return {
        "messages": [NewMessage(role=Role.ASSISTANT, content=made)],
        "calls": [PendingToolCall(part, None) for part in made],
        "timeout_seconds": 60.0,
        "settled_part": 1,
    }


async def test_require_action_releases_the_lease_until_a_deadline(database: Database) -> None:
    chat = await chat_with_status(database, Status.RUNNING, queued=1, attempts=2, recoveries=1)
    moved = await Turns(database).apply(
        FencingToken(chat.id, WORKER, chat.epoch), RequireAction(step=0, **asking("b", "a"))
    )
    now = moved.chat
    assert (now.worker_id, now.started_at, now.heartbeat_at) == (None, None, None)
    assert (now.committed_steps, now.settled_part, now.queue_length) == (1, 1, 1)
    assert now.action_deadline is not None
    assert 55 < (now.action_deadline - now.updated_at).total_seconds() <= 60
    assert moved.entry is not None
    assert moved.entry.data["calls"] == [
        {"tool_call_id": "b", "tool_name": "weather"},
        {"tool_call_id": "a", "tool_name": "weather"},
    ]
    _, _, ledger = await stored(database, chat.id)
    assert [(row["tool_call_id"], row["executor"], row["epoch"]) for row in ledger] == [
        ("b", "client", chat.epoch),
        ("a", "client", chat.epoch),
    ]


async def test_call_id_may_repeat_in_a_later_message(database: Database) -> None:
    chat = await chat_with_status(database, Status.PENDING)
    leases, turns = Leases(database, worker_id=WORKER), Turns(database)
    for step in range(3):
        (claim,) = await leases.claim(1)
        epoch = claim.result.chat.epoch
        await turns.apply(
            FencingToken(chat.id, WORKER, epoch), RequireAction(step=step, **asking("same", "b"))
        )
        await submit(database, chat, results("b", "same"))
    _, messages, ledger = await stored(database, chat.id)
    assert [m["role"] for m in messages] == ["user", *["assistant", "tool"] * 3]
    assert len(ledger) == 6


@pytest.mark.parametrize("in_ledger", [False, True])
async def test_chat_claimed_with_open_calls_requires_action_again(
    database: Database, in_ledger: bool
) -> None:
    chat = await chat_with_status(database, Status.RUNNING)
    message_id = await insert_tool_calls(database, chat.id, "c1")
    if in_ledger:
        await database.fetch(
            "UPDATE chat_tool_calls SET completed_at = started_at, is_error = true"
        )
    else:
        await database.fetch("DELETE FROM chat_tool_calls")
    (part,) = tool_call_content("c1")
    moved = await Turns(database).apply(
        FencingToken(chat.id, WORKER, chat.epoch),
        RequireAction(
            step=0,
            **{**asking(), "messages": [], "calls": [PendingToolCall(part, message_id)]},
        ),
    )
    assert moved.chat.status is Status.REQUIRES_ACTION
    _, _, (row,) = await stored(database, chat.id)
    assert row["message_id"] == message_id
    await submit(database, chat, results("c1"))
    await stored(database, chat.id)


# -- too late ----------------------------------------------------------------------------------------


async def test_only_overdue_chats_expire(database: Database) -> None:
    late = await chat_with_status(database, Status.REQUIRES_ACTION)
    early = await chat_with_status(database, Status.REQUIRES_ACTION)
    await database.fetch(
        "UPDATE chats SET action_deadline = clock_timestamp() + interval '1 minute' WHERE id = $1",
        early.id,
    )
    leases = Leases(database, worker_id=uuid4())
    assert (await leases.find_reapable(lease_seconds=20)).action_overdue
    (moved,) = await ToolCalls(database).expire()
    assert moved.chat.id == late.id
    assert moved.chat.pending_since is not None
    _, messages, ledger = await stored(database, late.id)
    assert [(p["tool_call_id"], p["result"]) for p in messages[-1]["content"]] == [
        (one, "timed out") for one in PENDING_CALL_IDS
    ]
    assert {p["is_error"] for p in messages[-1]["content"]} == {True}
    assert {row["is_error"] for row in ledger} == {True}
    await stored(database, early.id)
    assert not (await leases.find_reapable(lease_seconds=20)).action_overdue


async def test_expire_skips_locked_chats(database: Database) -> None:
    held, free = [await chat_with_status(database, Status.REQUIRES_ACTION) for _ in range(2)]
    async with row_locked(database, held), asyncio.timeout(WAIT_SECONDS):
        assert [moved.chat.id for moved in await ToolCalls(database).expire()] == [free.id]
    assert [moved.chat.id for moved in await ToolCalls(database).expire()] == [held.id]


async def test_concurrent_expiries_answer_each_chat_once(wide: Database) -> None:
    chats = [await chat_with_status(wide, Status.REQUIRES_ACTION) for _ in range(30)]

    async def reap() -> list[TransitionResult]:
        return await ToolCalls(wide).expire(limit=7)

    found: list[TransitionResult] = []
    while True:
        news = [
            moved for answer in await gather_all(*(reap() for _ in range(5))) for moved in answer
        ]
        if not news:
            break
        found += news
    assert sorted(moved.chat.id for moved in found) == sorted(chat.id for chat in chats)
    for chat in chats:
        await stored(wide, chat.id)


# -- everybody at once -------------------------------------------------------------------------------


async def settled(ask: Awaitable[Any]) -> None:
    try:
        await ask
    except Refused:
        return


@pytest.mark.parametrize("queued", [0, 1])
async def test_concurrent_results_expiry_interrupt_and_send_answer_each_call_once(
    wide: Database, queued: int
) -> None:
    """Whoever comes first, each call has one result, and nothing that was said is lost."""
    ended: set[str] = set()
    for _ in range(25):
        chat = await chat_with_status(wide, Status.REQUIRES_ACTION, queued=queued)
        chats = Chats(wide)
        await gather_all(
            settled(submit(wide, chat, results(*PENDING_CALL_IDS))),
            settled(ToolCalls(wide).expire()),
            settled(chats.interrupt(chat.id, owner_id=OWNER)),
            settled(
                chats.send(
                    chat.id,
                    owner_id=OWNER,
                    content=text_content("hi"),
                    busy_behavior=BusyBehavior.INTERRUPT,
                )
            ),
        )
        row, messages, _ = await stored(wide, chat.id)
        answers = [m for m in messages if m["role"] == "tool"]
        assert len(answers) == 1
        said = sum(m["role"] == "user" for m in messages) + row["queue_length"]
        assert said == 2 + queued
        (journal,) = await wide.fetch(
            "SELECT transition FROM chat_events WHERE chat_id = $1 AND version = $2", chat.id, 2
        )
        ended.add(journal["transition"])
        await wide.fetch("DELETE FROM chats WHERE id = $1", chat.id)
    moves = {
        Transition.SUBMIT_TOOL_RESULTS,
        Transition.EXPIRE_ACTION,
        Transition.INTERRUPT,
        Transition.SEND,
    }
    assert ended <= moves
    assert len(ended) > 1, "they did not race"
