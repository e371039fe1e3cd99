"""Results of server tools: stored as they come, and kept whatever ends the turn."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from support.factories import (
    MODEL,
    OWNER,
    WORKER,
    chat_with_status,
    insert_tool_calls,
    stored_rows,
    text_content,
)
from support.leases import orphaned_interrupts, reap
from support.tool_results import stored_tool_calls
from support.transitions import REAPER, asked_calls, first_edited, last_queued

from chatd.domain.chat import BusyBehavior, Chat, Status
from chatd.domain.errors import LeaseLost
from chatd.domain.tool_call import CallState, ToolResult
from chatd.domain.tool_call_errors import CANCELLED, NOT_ANSWERED, TURN_FAILED
from chatd.store.chats import Chats
from chatd.store.commands import CloseCalls, Fail, FinishInterrupt, RequireAction
from chatd.store.database import Database
from chatd.store.messages import Messages
from chatd.store.pending import PendingChats
from chatd.store.queue import Queue
from chatd.store.records import TransitionResult
from chatd.store.tool_calls import ToolCalls
from chatd.store.turns import FencingToken, Turns


def results(*ids: str) -> list[ToolResult]:
    return [ToolResult(tool_call_id=call_id, result=f"of {call_id}") for call_id in ids]


async def close(
    database: Database, chat: Chat, *ids: str, start: tuple[str, ...] = (), step: int = 0
) -> TransitionResult:
    fence = FencingToken(chat.id, WORKER, chat.epoch)
    command = CloseCalls(step=step, results=results(*ids), start_ids=start, settled_part=9)
    return await Turns(database).apply(fence, command)


async def test_last_result_stores_the_message_of_all(database: Database) -> None:
    chat = await chat_with_status(database, Status.RUNNING, recoveries=1)
    await insert_tool_calls(database, chat.id, "b", "a", "c", state="started")
    first = await close(database, chat, "c")
    assert first.chat.version == chat.version + 1
    assert (first.chat.committed_steps, first.chat.recoveries) == (0, 1)
    assert first.chat.updated_at == chat.updated_at, "so that the update stays HOT"
    assert first.messages == ()
    assert first.entry is not None
    closed = {"tool_call_id": "c", "tool_name": "weather", "is_error": False}
    assert first.entry.data == {"closed": [closed]}
    assert first.ledger is not None
    assert [call.id for call in first.ledger] == ["b", "a"]
    last = await close(database, chat, "a", "b")
    assert (last.chat.committed_steps, last.chat.recoveries) == (1, 0)
    [message] = last.messages
    assert [part["result"] for part in message.content] == ["of b", "of a", "of c"]
    assert last.ledger == ()
    await stored_tool_calls(database, chat.id)


async def test_repeated_statement_changes_nothing(database: Database) -> None:
    """The response of the first was lost. The worker cannot tell, and makes it again."""
    chat = await chat_with_status(database, Status.RUNNING)
    await insert_tool_calls(database, chat.id, "a", "b", state="started")
    await close(database, chat, "a")
    before = await stored_rows(database, chat)
    again = await close(database, chat, "a")
    assert again.entry is None
    assert again.ledger is not None
    assert [call.id for call in again.ledger] == ["b"]
    assert await stored_rows(database, chat) == before
    await close(database, chat, "b")
    with pytest.raises(LeaseLost):  # the writer then sees that the step was stored
        await close(database, chat, "b")


@pytest.mark.parametrize(
    ("state", "policy", "starts"),
    [
        ("ready", "at_most_once", True),
        ("ready", "idempotent", True),
        ("started", "at_most_once", False),
        ("started", "idempotent", True),
        ("ready", "reattach", True),
        ("started", "reattach", True),
    ],
)
async def test_start_of_calls(database: Database, state: str, policy: str, starts: bool) -> None:
    chat = await chat_with_status(database, Status.RUNNING, epoch=7)
    await insert_tool_calls(database, chat.id, "a", state=state, policy=policy)
    tries = int(state == "started" and policy != "reattach")
    result = await close(database, chat, start=("a",))
    assert result.ledger is not None
    [call] = result.ledger
    assert call.state is CallState.STARTED
    assert (call.epoch, call.tries) == ((7, tries + 1) if starts else (0, 1))
    before = await stored_rows(database, chat)
    again = await close(database, chat, start=("a",))
    assert again.ledger == result.ledger, "it does not start twice for one worker"
    assert await stored_rows(database, chat) == before


async def test_no_row_says_that_a_call_was_started_more_often_than_it_may(
    database: Database,
) -> None:
    for policy, tries in (("at_most_once", 2), ("reattach", 2), ("idempotent", 4)):
        chat = await chat_with_status(database, Status.RUNNING)
        await insert_tool_calls(database, chat.id, "a", state="started", policy=policy)
        with pytest.raises(Exception, match="chat_tool_calls_started_once"):
            await database.fetch(
                "UPDATE chat_tool_calls SET tries = $2 WHERE chat_id = $1", chat.id, tries
            )


@pytest.mark.parametrize(
    "columns",
    [
        "state = 'closed'",
        "completed_at = clock_timestamp()",
        "answer = '{}'",
        "is_error = false",
        "state = 'closed', completed_at = clock_timestamp(), is_error = true",
        "state = 'ready'",
        "state = 'asked'",
        "executor = 'client'",
        "state = 'unheard of'",
        "policy = 'unheard of'",
    ],
)
async def test_rows_that_no_transition_could_store_are_refused(
    database: Database, columns: str
) -> None:
    chat = await chat_with_status(database, Status.RUNNING)
    await insert_tool_calls(database, chat.id, "a", state="started")
    with pytest.raises(Exception, match="chat_tool_calls"):
        await database.fetch(f"UPDATE chat_tool_calls SET {columns}")


FENCE_EPOCH = 1

EarlyEnd = Callable[[Database, Chat], Awaitable[Any]]


def fence_of(chat: Chat) -> FencingToken:
    return FencingToken(chat.id, WORKER, FENCE_EPOCH)


async def send_interrupting(database: Database, chat: Chat) -> None:
    await Chats(database).send(
        chat.id,
        owner_id=OWNER,
        content=text_content("stop"),
        busy_behavior=BusyBehavior.INTERRUPT,
    )


async def interrupt_orphan(database: Database, _: Chat) -> None:
    [orphan] = await orphaned_interrupts(database)
    await Turns(database).apply(orphan.fence, orphan.command)


EARLY_ENDS: dict[str, tuple[Status, Any, str, EarlyEnd]] = {
    "finish_interrupt": (
        Status.INTERRUPTING,
        CANCELLED,
        "started",
        lambda database, chat: Turns(database).apply(
            fence_of(chat), FinishInterrupt(step=0, messages=[], settled_part=0)
        ),
    ),
    "reap_interrupt": (Status.INTERRUPTING, CANCELLED, "started", interrupt_orphan),
    "fail": (
        Status.RUNNING,
        TURN_FAILED,
        "ready",
        lambda database, chat: Turns(database).apply(
            fence_of(chat),
            Fail(step=0, last_error="no", last_error_detail={"kind": "auth"}, settled_part=0),
        ),
    ),
    "crash loop": (
        Status.RUNNING,
        TURN_FAILED,
        "started",
        lambda database, _: reap(database, max_recoveries=0),
    ),
    "fail_unserved": (
        Status.PENDING,
        TURN_FAILED,
        "started",
        lambda database, _: PendingChats(database, worker_id=REAPER).fail_unserved(
            [MODEL], lease_seconds=60.0, grace_seconds=-1.0
        ),
    ),
    "interrupt": (
        Status.PENDING,
        CANCELLED,
        "ready",
        lambda database, chat: Chats(database).interrupt(chat.id, owner_id=OWNER),
    ),
    "send": (Status.PENDING, CANCELLED, "started", send_interrupting),
    "interrupt of the question": (
        Status.REQUIRES_ACTION,
        CANCELLED,
        "asked",
        lambda database, chat: Chats(database).interrupt(chat.id, owner_id=OWNER),
    ),
    "promote": (
        Status.REQUIRES_ACTION,
        CANCELLED,
        "asked",
        lambda database, chat: last_queued(Queue(database).promote, database, chat),
    ),
    "expire_action": (
        Status.REQUIRES_ACTION,
        {"asked": NOT_ANSWERED["result"], "other": ""},
        "asked",
        lambda database, _: ToolCalls(database).expire(),
    ),
}


@pytest.mark.parametrize("name", EARLY_ENDS)
async def test_end_of_the_turn_keeps_results_that_are_there(database: Database, name: str) -> None:
    status, words, state, end = EARLY_ENDS[name]
    queued = 1 if name == "promote" else 0
    chat = await chat_with_status(database, status, queued=queued)
    await database.fetch("DELETE FROM chat_tool_calls")
    await database.fetch("DELETE FROM chat_messages WHERE role = 'assistant'")
    await insert_tool_calls(database, chat.id, "a", "b", "c", state=state)
    await database.fetch(
        "UPDATE chat_tool_calls SET state = 'closed', completed_at = clock_timestamp(),"
        " is_error = false, tries = 0, answer = chat_tool_result(tool_call_id, tool_name, '7', false)"
        " WHERE tool_call_id = 'b'"
    )
    await end(database, chat)
    _, messages, ledger = await stored_tool_calls(database, chat.id)
    [answer] = [message for message in messages if message["role"] == "tool"]
    word = words.get(state, words["other"])
    assert [part["result"] for part in answer["content"]] == [word, 7, word]
    assert {row["state"] for row in ledger} == {"closed"}


async def test_result_that_comes_with_the_interrupt_is_kept(database: Database) -> None:
    chat = await chat_with_status(database, Status.INTERRUPTING)
    await insert_tool_calls(database, chat.id, "a", "b", state="started")
    command = FinishInterrupt(step=0, messages=[], settled_part=0, results=results("b"))
    await Turns(database).apply(fence_of(chat), command)
    _, messages, _ = await stored_tool_calls(database, chat.id)
    assert [part["result"] for part in messages[-1]["content"]] == [CANCELLED["other"], "of b"]


async def test_edit_closes_the_calls_that_it_hides(database: Database) -> None:
    chat = await chat_with_status(database, Status.RUNNING)
    await insert_tool_calls(database, chat.id, "a", state="started")
    await first_edited(Messages(database), chat)
    _, messages, [row] = await stored_tool_calls(database, chat.id)
    assert (row["state"], row["answer"]["result"]) == ("closed", "superseded")
    assert [message["role"] for message in messages] == ["user", "assistant", "user"]
    with pytest.raises(LeaseLost):
        await close(database, chat, "a")


async def test_client_is_asked_after_the_results_of_the_server_are_there(
    database: Database,
) -> None:
    chat = await chat_with_status(database, Status.RUNNING)
    message_id = await insert_tool_calls(database, chat.id, "a", "b")
    await database.fetch(
        "UPDATE chat_tool_calls SET executor = 'server', state = 'started', tries = 1"
        " WHERE tool_call_id = 'a'"
    )
    result = await close(database, chat, "a")
    assert result.messages == (), "b has no result yet"
    part = {"type": "tool-call", "tool_call_id": "b", "tool_name": "weather", "args": '{"x": 1}'}
    asking = await Turns(database).apply(
        fence_of(chat),
        RequireAction(
            step=0,
            messages=[],
            settled_part=0,
            calls=asked_calls([part], message_id),
            timeouts={"result": 60.0},
        ),
    )
    assert asking.entry is not None
    [call] = asking.entry.data["calls"]
    assert (call["tool_call_id"], call["args"]) == ("b", '{"x": 1}')
    submitted = await ToolCalls(database).submit(chat.id, owner_id=OWNER, results=results("b"))
    [message] = submitted.messages
    assert [each["result"] for each in message.content] == ["of a", "of b"]
    await stored_tool_calls(database, chat.id)
