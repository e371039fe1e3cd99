"""Submitted tool results: accepted once, all of them, in the order of the calls."""

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest
from support.concurrency import WAIT_SECONDS, gather_all, row_locked, wait_until_blocked
from support.factories import OWNER, PENDING_CALL_IDS, chat_with_status, stored_rows, text_content
from support.tool_results import stored_tool_calls, submit_results, tool_results

from chatd.domain.chat import BusyBehavior, Status
from chatd.domain.errors import NoActionRequired, Refused, ToolCallUnknown, ToolResultsMissing
from chatd.domain.message import Role
from chatd.domain.transitions import Transition
from chatd.store.chats import Chats
from chatd.store.database import Database
from chatd.store.tool_calls import ToolCalls, ToolResult


async def test_results_are_stored_in_the_order_of_the_calls(database: Database) -> None:
    chat = await chat_with_status(database, Status.REQUIRES_ACTION, queued=1)
    submitted = [
        ToolResult(tool_call_id="c1", result="a \x00 b", is_error=True),
        ToolResult(tool_call_id="c2", result=None),
        ToolResult(tool_call_id="c3", result=[1.5, {"\ud800": float("inf")}]),
    ]
    result = await submit_results(database, chat, submitted)
    assert result.chat.action_deadline is None
    assert result.chat.pending_since is not None
    assert result.chat.queue_length == 1
    assert result.entry is not None
    (message,) = result.entry.messages
    assert message.role is Role.TOOL
    shown = [(p["tool_call_id"], p["result"], p["is_error"]) for p in message.content]
    assert shown == [
        ("c2", None, False),
        ("c1", "a \N{REPLACEMENT CHARACTER} b", True),
        ("c3", [1.5, {"\N{REPLACEMENT CHARACTER}": None}], False),
    ]
    assert {p["type"] for p in message.content} == {"tool-result"}
    assert {p["tool_name"] for p in message.content} == {"weather"}
    assert "of" not in str(result.entry.data), "the journal has ids, and never message text"
    _, _, ledger = await stored_tool_calls(database, chat.id)
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
        await submit_results(database, chat, tool_results(*ids))
    assert await stored_rows(database, chat) == before


async def test_results_are_accepted_once(database: Database) -> None:
    chat = await chat_with_status(database, Status.REQUIRES_ACTION)
    await submit_results(database, chat, tool_results(*PENDING_CALL_IDS))
    before = await stored_rows(database, chat)
    with pytest.raises(NoActionRequired, match=r"is not waiting for this answer, or for any\.$"):
        await submit_results(database, chat, tool_results(*PENDING_CALL_IDS))
    assert await stored_rows(database, chat) == before


async def test_concurrent_submissions_have_one_effect(wide: Database) -> None:
    chat = await chat_with_status(wide, Status.REQUIRES_ACTION)

    async def submit_number(number: int) -> int | None:
        submitted = [ToolResult(tool_call_id=call, result=number) for call in PENDING_CALL_IDS]
        try:
            await submit_results(wide, chat, submitted)
        except NoActionRequired:
            return None
        return number

    accepted = [
        number for number in await gather_all(*map(submit_number, range(20))) if number is not None
    ]
    assert len(accepted) == 1
    row, messages, _ = await stored_tool_calls(wide, chat.id)
    assert row["version"] == chat.version + 1
    assert [part["result"] for part in messages[-1]["content"]] == accepted * len(PENDING_CALL_IDS)


async def test_submission_that_waited_is_checked_against_the_present_calls(
    database: Database,
) -> None:
    """The snapshot has calls that are completed by now. The locked chat waits for other calls."""
    chat = await chat_with_status(database, Status.REQUIRES_ACTION)
    async with row_locked(database, chat) as other:
        submission = asyncio.create_task(
            submit_results(database, chat, tool_results(*PENDING_CALL_IDS))
        )
        await wait_until_blocked(other)
        await other.execute(
            "UPDATE chat_tool_calls SET state = 'closed', completed_at = clock_timestamp(),"
            " is_error = true, answer = '{}'"
            " WHERE chat_id = $1 AND completed_at IS NULL",
            chat.id,
        )
        await other.execute("UPDATE chats SET version = version + 2 WHERE id = $1", chat.id)
        await other.execute(
            "INSERT INTO chat_tool_calls"
            " (chat_id, message_id, tool_call_id, tool_name, position, executor, state, epoch, question)"
            " SELECT chat_id, id, 'other', 'weather', 9, 'client', 'asked', 0, '{\"kind\": \"result\"}'"
            " FROM chat_messages"
            " WHERE chat_id = $1 AND role = 'assistant'",
            chat.id,
        )
    async with asyncio.timeout(WAIT_SECONDS):
        with pytest.raises(ToolCallUnknown):
            await submission


async def ignore_refusal(request: Awaitable[Any]) -> None:
    try:
        await request
    except Refused:
        return


@pytest.mark.parametrize("queued", [0, 1])
async def test_concurrent_results_expiry_interrupt_and_send_answer_each_call_once(
    wide: Database, queued: int
) -> None:
    """In any order, each call has one result, and no user message is lost."""
    transitions: set[str] = set()
    for _ in range(25):
        chat = await chat_with_status(wide, Status.REQUIRES_ACTION, queued=queued)
        chats = Chats(wide)
        await gather_all(
            ignore_refusal(submit_results(wide, chat, tool_results(*PENDING_CALL_IDS))),
            ignore_refusal(ToolCalls(wide).expire()),
            ignore_refusal(chats.interrupt(chat.id, owner_id=OWNER)),
            ignore_refusal(
                chats.send(
                    chat.id,
                    owner_id=OWNER,
                    content=text_content("hi"),
                    busy_behavior=BusyBehavior.INTERRUPT,
                )
            ),
        )
        row, messages, _ = await stored_tool_calls(wide, chat.id)
        answers = [m for m in messages if m["role"] == "tool"]
        assert len(answers) == 1
        user_messages = sum(m["role"] == "user" for m in messages) + row["queue_length"]
        assert user_messages == 2 + queued
        (journal,) = await wide.fetch(
            "SELECT transition FROM chat_events WHERE chat_id = $1 AND version = $2", chat.id, 2
        )
        transitions.add(journal["transition"])
        await wide.fetch("DELETE FROM chats WHERE id = $1", chat.id)
    possible_transitions = {
        Transition.SUBMIT_TOOL_RESULTS,
        Transition.EXPIRE_ACTION,
        Transition.INTERRUPT,
        Transition.SEND,
    }
    assert transitions <= possible_transitions
    assert len(transitions) > 1, "the order was always the same"
