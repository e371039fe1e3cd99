"""Every (transition, status) cell of the table in the store, allowed or refused.

A row of the table shares one database. Its cells are subtests, each of which begins with an empty table of
chats.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from support.factories import (
    MODEL,
    OTHER_MODEL,
    OWNER,
    WORKER,
    chat_with_status,
    insert_models,
    insert_tool_calls,
    stored_rows,
    text_content,
)
from support.invariants import check_calls
from support.stored_parts import check_parts_are_deleted, flush_texts
from support.transitions import (
    CLOSE_STARTED_CALL,
    COMPACTION,
    FAILED_ATTEMPT,
    NEW_CHAT,
    PARKED,
    REAPER,
    REQUIRED_ACTION,
    STARTED_CALL_ID,
    STEP,
    NoChatFound,
    make_transition,
    may_queue,
)

from chatd.domain.chat import IDLE, LEASED, BusyBehavior, Chat, Status
from chatd.domain.errors import (
    ChatBusy,
    ChatTreeBusy,
    LeaseLost,
    NoActionRequired,
    NothingToRetry,
    QueuedMessageNotFound,
    Refused,
    ToolCallUnknown,
)
from chatd.domain.journal import JournalEntry
from chatd.domain.message import Content, Role
from chatd.domain.transitions import TABLE, WORKER_TRANSITIONS, Transition, target_status
from chatd.store.chats import Chats
from chatd.store.commands import (
    CommitStep,
    Defer,
    Fail,
    FinishInterrupt,
    FinishTurn,
    Park,
    RecordRetry,
    Release,
    RequireAction,
    WorkerCommand,
)
from chatd.store.commits import CommitListener
from chatd.store.compact import Compact
from chatd.store.database import Database
from chatd.store.records import TransitionResult
from chatd.store.turns import FencingToken, Turns

ROWS = [
    pytest.param(transition, busy, id=f"{transition}{f'-{busy}' if busy else ''}")
    for transition, busy in TABLE
    if transition not in NEW_CHAT
]
CELLS = [
    (status, queued) for status in Status for queued in ((0, 2) if may_queue(status) else (0,))
]
"""The statuses, without and with queued messages if the status may have some."""


def expected_refusal(transition: Transition, busy: BusyBehavior | None) -> type[Exception]:
    if transition in WORKER_TRANSITIONS or transition is Transition.REAP_INTERRUPT:
        return LeaseLost
    if transition in {
        Transition.CLAIM,
        Transition.REAP,
        Transition.EXPIRE_ACTION,
        Transition.WAKE,
        Transition.FAIL_UNSERVED,
    }:
        return NoChatFound
    if transition in {Transition.REMOVE_QUEUED, Transition.PROMOTE}:
        return QueuedMessageNotFound
    if transition is Transition.SUBMIT_TOOL_RESULTS:
        return NoActionRequired
    if transition is Transition.ANSWER_ACTION:
        return ToolCallUnknown
    if transition is Transition.RETRY:
        return NothingToRetry
    return (
        ChatBusy
        if busy is BusyBehavior.REJECT or transition in {Transition.APPEND, Transition.CLEAR}
        else ChatTreeBusy
    )


@pytest.mark.parametrize(("transition", "busy"), ROWS)
async def test_transition_in_each_status(
    database: Database,
    subtests: pytest.Subtests,
    transition: Transition,
    busy: BusyBehavior | None,
) -> None:
    for status, queued in CELLS:
        await database.fetch("DELETE FROM chats")
        with subtests.test(status=status.value, queued=queued):
            await check_cell(database, transition, busy, status, queued)


async def check_cell(
    database: Database,
    transition: Transition,
    busy: BusyBehavior | None,
    status: Status,
    queued: int,
) -> None:
    chat = await chat_with_status(
        database,
        status,
        queued=queued,
        archived=transition is Transition.UNARCHIVE and status in IDLE,
    )
    target = target_status(transition, status, busy=busy, has_queue=queued > 0)
    if transition in {Transition.REMOVE_QUEUED, Transition.PROMOTE} and not queued:
        target = None  # there is no queued message to remove or promote
    if transition is Transition.CLOSE_CALLS and status in {*LEASED, Status.PENDING}:
        await insert_tool_calls(database, chat.id, STARTED_CALL_ID, state="started")
    if status in LEASED:
        await flush_texts(database, chat, chat.settled_part + 1, "a part", epoch=chat.epoch)
    before = await stored_rows(database, chat)
    published: list[JournalEntry] = []
    listener = CommitListener(on_commit=lambda entries, _: published.extend(entries))
    if target is None:
        with pytest.raises(expected_refusal(transition, busy)):
            await make_transition(database, transition, busy, chat, listener=listener)
        assert published == []
        assert await stored_rows(database, chat) == before
        return
    result = await make_transition(database, transition, busy, chat, listener=listener)
    assert result.chat.status is target
    if not TABLE[transition, busy][status].journaled:
        assert result.entry is None
        assert published == []
        assert await stored_rows(database, chat) == before
        return
    assert published == [result.entry]
    await check(database, chat, result, transition)
    check_pending_since(chat, result, transition)
    if status in LEASED:
        await check_parts_are_deleted(database, chat, result.chat)


def check_pending_since(before: Chat, result: TransitionResult, transition: Transition) -> None:
    """Check the place among the pending chats, which a transition keeps or gives."""
    pending_since = result.chat.pending_since
    if result.chat.status is not Status.PENDING:
        assert pending_since is None
        return
    assert pending_since is not None
    if transition is Transition.DEFER:
        assert pending_since > result.chat.updated_at, "from when it may be claimed"
    elif before.status is Status.PENDING:
        assert pending_since == before.pending_since
    elif transition in {Transition.RELEASE, Transition.REAP}:
        assert pending_since == before.started_at
    else:
        assert pending_since > before.updated_at


async def check(
    database: Database, before: Chat, result: TransitionResult, transition: Transition
) -> None:
    """Check what every transition does."""
    after = result.chat
    assert after.version == before.version + 1
    assert result.entry is not None
    journal = await database.fetch("SELECT * FROM chat_events WHERE chat_id = $1", before.id)
    assert [(r["version"], r["transition"], r["status"], r["epoch"]) for r in journal] == [
        (after.version, transition.value, after.status.value, after.epoch)
    ]
    assert result.entry.data == journal[0]["data"]
    assert result.entry.created_at == journal[0]["created_at"]
    if after.status is not Status.ERROR:
        assert after.last_error is None
        assert after.last_error_detail is None
    queue = await database.fetch(
        "SELECT id FROM chat_queued_messages WHERE chat_id = $1", before.id
    )
    assert len(queue) == after.queue_length
    stored = await database.fetch(
        "SELECT id, visibility FROM chat_messages WHERE chat_id = $1 AND version = $2 ORDER BY id",
        before.id,
        after.version,
    )
    assert result.entry.data.get("messages", []) == [row["id"] for row in stored]
    for messages, hidden in ((result.messages, "model"), (result.model_messages, "user")):
        shown = [row["id"] for row in stored if row["visibility"] != hidden]
        assert [message.id for message in messages] == shown
    assert result.entry.messages == result.messages
    (chat,) = await database.fetch("SELECT * FROM chats WHERE id = $1", before.id)
    messages = await database.fetch(
        "SELECT * FROM chat_messages WHERE chat_id = $1 ORDER BY id", before.id
    )
    ledger = await database.fetch(
        "SELECT * FROM chat_tool_calls WHERE chat_id = $1 ORDER BY message_id, position", before.id
    )
    check_calls(chat, messages, ledger)


@pytest.mark.parametrize("content", [text_content("hello"), None])
async def test_create_leads_to_the_status_of_the_table(
    database: Database, content: Content | None
) -> None:
    await insert_models(database)
    result = await Chats(database).create(owner_id=OWNER, model_config_id=MODEL, content=content)
    assert result.chat.status is target_status(
        Transition.CREATE, None, without_message=content is None
    )
    nonexistent = replace(result.chat, version=0)
    await check(database, nonexistent, result, Transition.CREATE)


async def test_reap_after_too_many_recoveries_fails_the_chat(database: Database) -> None:
    chat = await chat_with_status(database, Status.RUNNING, recoveries=0)
    result = await make_transition(database, Transition.REAP, None, chat, given_up=True)
    assert result.chat.status is target_status(Transition.REAP, Status.RUNNING, exhausted=True)
    assert result.chat.last_error is not None
    assert "died 1 times" in result.chat.last_error
    assert result.chat.last_error_detail is not None
    assert result.chat.last_error_detail["kind"] == "crash_loop"
    await check(database, chat, result, Transition.REAP)


@pytest.mark.parametrize("content", [None, text_content("hello")], ids=["empty", "asked"])
async def test_create_stores_title_labels_and_messages(database: Database, content: Any) -> None:
    await insert_models(database)
    result = await Chats(database).create(
        owner_id=OWNER,
        model_config_id=OTHER_MODEL,
        content=content,
        system_prompt="be brief",
        title="a \x00 title",
        labels={"a": "b"},
    )
    assert result.chat.status is (Status.PENDING if content else Status.WAITING)
    assert result.chat.root_chat_id == result.chat.id
    assert result.chat.title == "a \N{REPLACEMENT CHARACTER} title"
    assert result.entry is not None
    roles = [message.role for message in result.entry.messages]
    assert roles == [Role.SYSTEM, Role.USER][: 2 if content else 1]
    assert [m.id for m in result.entry.messages] == sorted(m.id for m in result.entry.messages)


STORES_NO_STEP = {Transition.RELEASE}

STALE_COLUMNS: Mapping[str, Mapping[str, Any]] = {
    "worker": {"worker_id": REAPER},
    "epoch": {"epoch": 2},
    "step": {"committed_steps": 1},
}
"""Columns that make the fencing token of a worker stale, by the part that differs."""

STALE_COMMANDS: Mapping[Transition, WorkerCommand] = {
    command.transition: command
    for command in (
        CommitStep(**STEP),
        CLOSE_STARTED_CALL,
        Compact(**COMPACTION),
        RecordRetry(**FAILED_ATTEMPT),
        Defer(**FAILED_ATTEMPT, remaining_seconds=60.0),
        RequireAction(**REQUIRED_ACTION),
        Park(**PARKED),
        FinishTurn(**STEP),
        FinishInterrupt(**STEP),
        Fail(step=0, last_error="x", last_error_detail={}, settled_part=0),
        Release(step=0, reason="x"),
    )
}


@pytest.mark.parametrize("transition", sorted(WORKER_TRANSITIONS))
async def test_stale_fencing_token_changes_nothing(
    database: Database, subtests: pytest.Subtests, transition: Transition
) -> None:
    status = Status.INTERRUPTING if transition is Transition.FINISH_INTERRUPT else Status.RUNNING
    for part, columns in STALE_COLUMNS.items():
        if part == "step" and transition in STORES_NO_STEP:
            continue
        with subtests.test(part=part):
            chat = await chat_with_status(database, status, **columns)
            if transition is Transition.CLOSE_CALLS:
                await insert_tool_calls(database, chat.id, STARTED_CALL_ID, state="started")
            before = await stored_rows(database, chat)
            with pytest.raises(LeaseLost):
                await Turns(database).apply(
                    FencingToken(chat.id, WORKER, 1), STALE_COMMANDS[transition]
                )
            assert await stored_rows(database, chat) == before


BY_CALLERS = sorted(
    {transition for transition, _ in TABLE}
    - WORKER_TRANSITIONS
    - NEW_CHAT
    - {
        Transition.CLAIM,
        Transition.REAP,
        Transition.REAP_INTERRUPT,
        Transition.EXPIRE_ACTION,
        Transition.WAKE,
        Transition.FAIL_UNSERVED,
        Transition.SET_TITLE,
    }
)


async def test_chat_of_another_owner_is_not_found(
    database: Database, subtests: pytest.Subtests
) -> None:
    for transition in BY_CALLERS:
        with subtests.test(transition=transition.value):
            chat = await chat_with_status(database, Status.ERROR, queued=2, owner_id="bob")
            before = await stored_rows(database, chat)
            with pytest.raises(Refused, match=f"no chat {chat.id}"):
                await make_transition(database, transition, None, chat)
            assert await stored_rows(database, chat) == before
