"""Every (move, status) cell of the table, in the store: each that is allowed, each that is refused."""

from collections.abc import Awaitable, Callable
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
    stored_rows,
    text_content,
)
from support.invariants import check_calls
from support.transitions import (
    ASKING,
    REAPER,
    STEP,
    Nothing,
    make,
    may_queue,
)

from chatd.domain.chat import IDLE, BusyBehavior, Chat, Status
from chatd.domain.errors import (
    ChatBusy,
    ChatTreeBusy,
    LeaseLost,
    NoActionRequired,
    NothingToRetry,
    QueuedMessageNotFound,
    Refused,
)
from chatd.domain.journal import JournalEntry
from chatd.domain.message import Content, Role
from chatd.domain.transitions import TABLE, WORKER_TRANSITIONS, Transition, target_status
from chatd.store.chats import Chats
from chatd.store.commands import (
    CommitStep,
    Fail,
    FinishInterrupt,
    FinishTurn,
    RecordRetry,
    Release,
    RequireAction,
)
from chatd.store.commits import CommitListener
from chatd.store.database import Database
from chatd.store.records import TransitionResult
from chatd.store.turns import FencingToken, Turns

CELLS = [
    pytest.param(move, busy, status, id=f"{move}{f'-{busy}' if busy else ''}-{status}")
    for move, busy in TABLE
    if move is not Transition.CREATE
    for status in Status
]


def expected_refusal(move: Transition, busy: BusyBehavior | None) -> type[Exception]:
    if move in WORKER_TRANSITIONS or move is Transition.REAP_INTERRUPT:
        return LeaseLost
    if move in {Transition.CLAIM, Transition.REAP, Transition.EXPIRE_ACTION}:
        return Nothing
    if move in {Transition.REMOVE_QUEUED, Transition.PROMOTE}:
        return QueuedMessageNotFound
    if move is Transition.SUBMIT_TOOL_RESULTS:
        return NoActionRequired
    if move is Transition.RETRY:
        return NothingToRetry
    return ChatBusy if busy is BusyBehavior.REJECT or move is Transition.CLEAR else ChatTreeBusy


@pytest.mark.parametrize("queued", [0, 2])
@pytest.mark.parametrize(("move", "busy", "status"), CELLS)
async def test_each_cell(
    database: Database, move: Transition, busy: BusyBehavior | None, status: Status, queued: int
) -> None:
    if queued and not may_queue(status):
        queued = 0
    chat = await chat_with_status(
        database, status, queued=queued, archived=move is Transition.UNARCHIVE and status in IDLE
    )
    to = target_status(move, status, busy=busy, has_queue=queued > 0)
    if move in {Transition.REMOVE_QUEUED, Transition.PROMOTE} and not queued:
        to = None  # there is no message that it could be made on
    before = await stored_rows(database, chat)
    published: list[JournalEntry] = []
    listener = CommitListener(on_commit=published.append)
    if to is None:
        with pytest.raises(expected_refusal(move, busy)):
            await make(database, move, busy, chat, listener=listener)
        assert published == []
        assert await stored_rows(database, chat) == before
        return
    moved = await make(database, move, busy, chat, listener=listener)
    assert moved.chat.status is to
    if not TABLE[move, busy][status].journaled:
        assert moved.entry is None
        assert published == []
        assert await stored_rows(database, chat) == before
        return
    assert published == [moved.entry]
    await check(database, chat, moved, move)


async def check(
    database: Database, before: Chat, moved: TransitionResult, move: Transition
) -> None:
    """What every move does, whichever it is."""
    after = moved.chat
    assert after.version == before.version + 1
    assert moved.entry is not None
    journal = await database.fetch("SELECT * FROM chat_events WHERE chat_id = $1", before.id)
    assert [(r["version"], r["transition"], r["status"], r["epoch"]) for r in journal] == [
        (after.version, move.value, after.status.value, after.epoch)
    ]
    assert moved.entry.data == journal[0]["data"]
    assert moved.entry.created_at == journal[0]["created_at"]
    if after.status is not Status.ERROR:
        assert after.last_error is None
        assert after.last_error_detail is None
    queue = await database.fetch(
        "SELECT id FROM chat_queued_messages WHERE chat_id = $1", before.id
    )
    assert len(queue) == after.queue_length
    stored = await database.fetch(
        "SELECT id FROM chat_messages WHERE chat_id = $1 AND version = $2", before.id, after.version
    )
    assert {row["id"] for row in stored} == {message.id for message in moved.entry.messages}
    assert moved.entry.data.get("messages", []) == [m.id for m in moved.entry.messages]
    (chat,) = await database.fetch("SELECT * FROM chats WHERE id = $1", before.id)
    messages = await database.fetch(
        "SELECT * FROM chat_messages WHERE chat_id = $1 ORDER BY id", before.id
    )
    ledger = await database.fetch(
        "SELECT * FROM chat_tool_calls WHERE chat_id = $1 ORDER BY message_id, position", before.id
    )
    check_calls(chat, messages, ledger)


@pytest.mark.parametrize("content", [text_content("hello"), None])
async def test_a_chat_begins(database: Database, content: Content | None) -> None:
    await insert_models(database)
    moved = await Chats(database).create(owner_id=OWNER, model_config_id=MODEL, content=content)
    assert moved.chat.status is target_status(
        Transition.CREATE, None, without_message=content is None
    )
    nothing = replace(moved.chat, version=0)
    await check(database, nothing, moved, Transition.CREATE)


async def test_a_crash_loop_is_given_up(database: Database) -> None:
    chat = await chat_with_status(database, Status.RUNNING, recoveries=0)
    moved = await make(database, Transition.REAP, None, chat, given_up=True)
    assert moved.chat.status is target_status(Transition.REAP, Status.RUNNING, exhausted=True)
    assert moved.chat.last_error is not None
    assert "died 1 times" in moved.chat.last_error
    assert moved.chat.last_error_detail is not None
    assert moved.chat.last_error_detail["kind"] == "crash_loop"
    await check(database, chat, moved, Transition.REAP)


@pytest.mark.parametrize("content", [None, text_content("hello")], ids=["empty", "asked"])
async def test_create(database: Database, content: Any) -> None:
    await insert_models(database)
    moved = await Chats(database).create(
        owner_id=OWNER,
        model_config_id=OTHER_MODEL,
        content=content,
        system_prompt="be brief",
        title="a \x00 title",
        labels={"a": "b"},
    )
    assert moved.chat.status is (Status.PENDING if content else Status.WAITING)
    assert moved.chat.root_chat_id == moved.chat.id
    assert moved.chat.title == "a \N{REPLACEMENT CHARACTER} title"
    assert moved.entry is not None
    roles = [message.role for message in moved.entry.messages]
    assert roles == [Role.SYSTEM, Role.USER][: 2 if content else 1]
    assert [m.id for m in moved.entry.messages] == sorted(m.id for m in moved.entry.messages)


STORES_NO_STEP = {Transition.RELEASE}


@pytest.mark.parametrize(
    ("move", "wrong"),
    [
        (move, wrong)
        for move in sorted(WORKER_TRANSITIONS)
        for wrong in ("worker", "epoch", "step")
        if wrong != "step" or move not in STORES_NO_STEP
    ],
)
async def test_the_fence(database: Database, move: Transition, wrong: str) -> None:
    """A stale owner's write changes nothing."""
    status = Status.INTERRUPTING if move is Transition.FINISH_INTERRUPT else Status.RUNNING
    more = {
        "worker": {"worker_id": REAPER},
        "epoch": {"epoch": 2},
        "step": {"committed_steps": 1},
    }[wrong]
    chat = await chat_with_status(database, status, **more)
    stale = FencingToken(chat.id, WORKER, 1)
    before = await stored_rows(database, chat)
    turns = Turns(database)
    ways: dict[Transition, Callable[[], Awaitable[Any]]] = {
        Transition.COMMIT_STEP: lambda: turns.apply(stale, CommitStep(**STEP)),
        Transition.RECORD_RETRY: lambda: turns.apply(
            stale, RecordRetry(step=0, attempts=1, delay_seconds=1.0, settled_part=0, failure={})
        ),
        Transition.REQUIRE_ACTION: lambda: turns.apply(stale, RequireAction(**ASKING)),
        Transition.FINISH_TURN: lambda: turns.apply(stale, FinishTurn(**STEP)),
        Transition.FINISH_INTERRUPT: lambda: turns.apply(stale, FinishInterrupt(**STEP)),
        Transition.FAIL: lambda: turns.apply(
            stale, Fail(step=0, last_error="x", last_error_detail={}, settled_part=0)
        ),
        Transition.RELEASE: lambda: turns.apply(stale, Release(step=0, reason="x")),
    }
    with pytest.raises(LeaseLost):
        await ways[move]()
    assert await stored_rows(database, chat) == before


BY_CALLERS = sorted(
    {move for move, _ in TABLE}
    - WORKER_TRANSITIONS
    - {
        Transition.CREATE,
        Transition.CLAIM,
        Transition.REAP,
        Transition.REAP_INTERRUPT,
        Transition.EXPIRE_ACTION,
    }
)


@pytest.mark.parametrize("move", BY_CALLERS)
async def test_another_owners_chat_is_not_there(database: Database, move: Transition) -> None:
    chat = await chat_with_status(database, Status.ERROR, queued=2, owner_id="bob")
    before = await stored_rows(database, chat)
    with pytest.raises(Refused, match=f"no chat {chat.id}"):
        await make(database, move, None, chat)
    assert await stored_rows(database, chat) == before
