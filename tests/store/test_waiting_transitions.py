"""Transitions that waited for a lock: each sees what was committed meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from support.concurrency import WAIT_SECONDS, row_locked, wait_until_blocked
from support.factories import OTHER_MODEL, OWNER, WORKER, chat_with_status, text_content
from support.leases import fencing_token_of

from chatd.domain.chat import BusyBehavior, Chat, Status
from chatd.domain.errors import ChatBusy, LeaseLost
from chatd.domain.message import NewMessage, Role
from chatd.store.chats import Chats
from chatd.store.commands import FinishInterrupt, FinishTurn, ReapInterrupt
from chatd.store.database import Database
from chatd.store.messages import Messages
from chatd.store.queue import Queue
from chatd.store.records import TransitionResult
from chatd.store.turns import Turns

ANSWER = NewMessage(role=Role.ASSISTANT, content=text_content("an answer"))


async def queue_message(connection: Any, chat: Chat, text: str, position: int) -> None:
    """Queue a message as a send does: insert a row in another table, and raise the version."""
    await connection.execute(
        "INSERT INTO chat_queued_messages (chat_id, id, position, content, model_config_id)"
        " SELECT $1, version + 1, $2, $3, $4 FROM chats WHERE id = $1",
        chat.id,
        position,
        text_content(text),
        OTHER_MODEL,
    )
    await connection.execute(
        "UPDATE chats SET version = version + 1, queue_length = queue_length + 1 WHERE id = $1",
        chat.id,
    )


Request = Callable[[Database, Chat], Awaitable[TransitionResult]]

STEP: dict[str, Any] = {"step": 0, "messages": [ANSWER], "settled_part": 0}


@dataclass(frozen=True)
class WaitingCase:
    """A transition that reads the queue, and its target if a message was queued meanwhile."""

    status: Status
    queued: int
    request: Request
    target: Status
    promoted: str = "came meanwhile"


WAITING_TRANSITIONS = {
    "finish_turn": WaitingCase(
        Status.RUNNING,
        0,
        lambda database, chat: Turns(database).apply(fencing_token_of(chat), FinishTurn(**STEP)),
        Status.RUNNING,
    ),
    "finish_interrupt": WaitingCase(
        Status.INTERRUPTING,
        0,
        lambda database, chat: Turns(database).apply(
            fencing_token_of(chat), FinishInterrupt(**STEP)
        ),
        Status.RUNNING,
    ),
    "reap_interrupt": WaitingCase(
        Status.INTERRUPTING,
        0,
        lambda database, chat: Turns(database).apply(fencing_token_of(chat), ReapInterrupt(**STEP)),
        Status.PENDING,
    ),
    "send_after_an_error": WaitingCase(
        Status.ERROR,
        0,
        lambda database, chat: Chats(database).send(
            chat.id, owner_id=OWNER, content=text_content("mine")
        ),
        Status.PENDING,
    ),
    "send_after_an_error_with_a_queue": WaitingCase(
        Status.ERROR,
        2,
        lambda database, chat: Chats(database).send(
            chat.id, owner_id=OWNER, content=text_content("mine")
        ),
        Status.PENDING,
    ),
    "interrupt_of_pending": WaitingCase(
        Status.PENDING,
        0,
        lambda database, chat: Chats(database).interrupt(chat.id, owner_id=OWNER),
        Status.PENDING,
    ),
    "interrupt_of_pending_with_a_queue": WaitingCase(
        Status.PENDING,
        2,
        lambda database, chat: Chats(database).interrupt(chat.id, owner_id=OWNER),
        Status.PENDING,
    ),
}


@pytest.mark.parametrize("name", WAITING_TRANSITIONS)
async def test_transition_that_waited_sees_the_present_queue(database: Database, name: str) -> None:
    case = WAITING_TRANSITIONS[name]
    chat = await chat_with_status(database, case.status, queued=case.queued)
    before = database.statement_count
    async with row_locked(database, chat) as other:
        task = asyncio.create_task(case.request(database, chat))  # type: ignore[arg-type]
        await wait_until_blocked(other)
        await queue_message(other, chat, case.promoted, position=-1)
    async with asyncio.timeout(WAIT_SECONDS):
        result = await task
    looks_first = name == "finish_turn"  # by a statement that waits for no chat
    assert database.statement_count - before == 2 + looks_first, "repeated once"
    assert result.chat.status is case.target
    assert result.entry is not None
    assert [
        part["text"]
        for message in result.entry.messages
        if message.role is Role.USER
        for part in message.content
    ] == [case.promoted]
    assert result.chat.version == 3
    queue = await database.fetch("SELECT * FROM chat_queued_messages ORDER BY position, id")
    assert len(queue) == result.chat.queue_length == case.queued + ("send" in name)
    assert case.promoted not in [row["content"][0]["text"] for row in queue]


@pytest.mark.parametrize("name", WAITING_TRANSITIONS)
async def test_wait_for_a_heartbeat_is_not_stale(database: Database, name: str) -> None:
    """A statement that waited for a change of columns it does not read is not repeated."""
    case = WAITING_TRANSITIONS[name]
    chat = await chat_with_status(database, case.status, queued=max(case.queued, 1))
    before = database.statement_count
    async with row_locked(database, chat) as other:
        task = asyncio.create_task(case.request(database, chat))  # type: ignore[arg-type]
        await wait_until_blocked(other)
        await other.execute(
            "UPDATE chats SET heartbeat_at = heartbeat_at + interval '1 second' WHERE id = $1",
            chat.id,
        )
    async with asyncio.timeout(WAIT_SECONDS):
        result = await task
    looks_first = name == "finish_turn"  # by a statement that waits for no chat
    assert database.statement_count - before == 1 + looks_first
    assert result.chat.status is case.target
    assert result.chat.version == 2
    assert result.entry is not None
    assert result.entry.messages[-1].content == text_content("queued 0")
    if result.chat.heartbeat_at and chat.heartbeat_at:
        assert result.chat.heartbeat_at > chat.heartbeat_at, "the heartbeat is kept"


async def first_queued(database: Database, chat: Chat) -> int:
    (row, *_) = await database.fetch(
        "SELECT id FROM chat_queued_messages WHERE chat_id = $1 ORDER BY position", chat.id
    )
    queued_id: int = row["id"]
    return queued_id


async def remove_first(database: Database, chat: Chat) -> TransitionResult:
    queued_id = await first_queued(database, chat)
    return await Queue(database).remove(chat.id, queued_id, owner_id=OWNER)


async def promote_first(database: Database, chat: Chat) -> TransitionResult:
    queued_id = await first_queued(database, chat)
    return await Queue(database).promote(chat.id, queued_id, owner_id=OWNER)


@pytest.mark.parametrize(
    ("status", "request_transition", "target", "queue_length"),
    [
        pytest.param(Status.RUNNING, remove_first, Status.RUNNING, 1, id="remove"),
        pytest.param(Status.PENDING, promote_first, Status.PENDING, 2, id="promote in the queue"),
        pytest.param(Status.ERROR, promote_first, Status.PENDING, 1, id="promote to history"),
        pytest.param(
            Status.ERROR,
            lambda database, chat: Chats(database).retry(chat.id, owner_id=OWNER),
            Status.PENDING,
            2,
            id="retry",
        ),
        pytest.param(
            Status.ERROR,
            lambda database, chat: Messages(database).append(
                chat.id,
                owner_id=OWNER,
                messages=[NewMessage(role=Role.USER, content=text_content("said"))],
            ),
            Status.ERROR,
            2,
            id="append",
        ),
        pytest.param(
            Status.ERROR,
            lambda database, chat: Messages(database).clear(chat.id, owner_id=OWNER),
            Status.WAITING,
            0,
            id="clear",
        ),
        pytest.param(
            Status.ERROR,
            lambda database, chat: Messages(database).request_compaction(chat.id, owner_id=OWNER),
            Status.PENDING,
            2,
            id="request_compaction",
        ),
    ],
)
async def test_transition_that_waited_for_a_describe_is_applied_once(
    database: Database,
    status: Status,
    request_transition: Request,
    target: Status,
    queue_length: int,
) -> None:
    chat = await chat_with_status(database, status, queued=2)
    async with row_locked(database, chat) as other:
        task = asyncio.create_task(request_transition(database, chat))  # type: ignore[arg-type]
        await wait_until_blocked(other)
        await other.execute(
            "UPDATE chats SET version = version + 1, title = 'new' WHERE id = $1", chat.id
        )
    async with asyncio.timeout(WAIT_SECONDS):
        result = await task
    assert (result.chat.status, result.chat.version, result.chat.title) == (target, 3, "new")
    queue = await database.fetch("SELECT FROM chat_queued_messages WHERE chat_id = $1", chat.id)
    assert len(queue) == result.chat.queue_length == queue_length
    journal = await database.fetch("SELECT version FROM chat_events WHERE chat_id = $1", chat.id)
    assert [row["version"] for row in journal] == [3]


@pytest.mark.parametrize("busy", BusyBehavior)
async def test_send_that_waited_for_a_claim_queues_its_message(
    database: Database, busy: BusyBehavior
) -> None:
    chat = await chat_with_status(database, Status.WAITING)
    async with row_locked(database, chat) as other:
        send = asyncio.create_task(
            Chats(database).send(
                chat.id, owner_id=OWNER, content=text_content("late"), busy_behavior=busy
            )
        )
        await wait_until_blocked(other)
        await other.execute(
            "UPDATE chats SET version = version + 2, status = 'running', epoch = 1, worker_id = $2,"
            " started_at = clock_timestamp(), heartbeat_at = clock_timestamp() WHERE id = $1",
            chat.id,
            WORKER,
        )
    async with asyncio.timeout(WAIT_SECONDS):
        if busy is BusyBehavior.REJECT:
            with pytest.raises(ChatBusy):
                await send
            return
        result = await send
    assert result.queued_message is not None
    assert result.queued_message.content == text_content("late")
    overtaken = {BusyBehavior.QUEUE: Status.RUNNING, BusyBehavior.INTERRUPT: Status.INTERRUPTING}
    assert result.chat.status is overtaken[busy]


async def test_worker_that_waited_for_its_reaping_loses_the_lease(database: Database) -> None:
    chat = await chat_with_status(database, Status.RUNNING)
    async with row_locked(database, chat) as other:
        finish = asyncio.create_task(
            Turns(database).apply(fencing_token_of(chat), FinishTurn(**STEP))
        )
        await wait_until_blocked(other)
        await other.execute(
            "UPDATE chats SET version = version + 1, status = 'pending', worker_id = NULL,"
            " started_at = NULL, heartbeat_at = NULL, pending_since = clock_timestamp()"
            " WHERE id = $1",
            chat.id,
        )
    async with asyncio.timeout(WAIT_SECONDS):
        with pytest.raises(LeaseLost):
            await finish
    assert await database.fetch("SELECT FROM chat_messages WHERE version > 1") == []


async def test_retry_that_waited_for_the_failure_retries_it(database: Database) -> None:
    """The snapshot has a running chat, and the locked row has a failed one. The locked row counts."""
    chat = await chat_with_status(database, Status.RUNNING)
    async with row_locked(database, chat) as other:
        retry = asyncio.create_task(Chats(database).retry(chat.id, owner_id=OWNER))
        await wait_until_blocked(other)
        await other.execute(
            "UPDATE chats SET version = version + 1, status = 'error', last_error = 'no',"
            " worker_id = NULL, started_at = NULL, heartbeat_at = NULL WHERE id = $1",
            chat.id,
        )
    result = await retry
    assert (result.chat.status, result.chat.version) == (Status.PENDING, chat.version + 2)
