"""Real concurrency: nothing is lost, nothing is doubled, and a waiting statement sees what came."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import pytest
from support.concurrency import (
    WAIT_SECONDS,
    fencing_token,
    gather_all,
    insert_chats,
    row_locked,
    wait_until_blocked,
)
from support.factories import (
    MODEL,
    OTHER_MODEL,
    OWNER,
    WORKER,
    chat_with_status,
    insert_models,
    text_content,
)
from support.invariants import check_all, has_no_duplicates, texts

from chatd.domain.chat import BusyBehavior, Chat, Status
from chatd.domain.errors import ChatBusy, LeaseLost, QueueFull
from chatd.domain.message import NewMessage, Role
from chatd.store.chats import Chats
from chatd.store.commands import FinishInterrupt, FinishTurn, ReapInterrupt, RecordRetry
from chatd.store.database import Database
from chatd.store.leases import Claim, Leases
from chatd.store.limits import ChatLimits
from chatd.store.messages import Messages
from chatd.store.queue import Queue
from chatd.store.records import TransitionResult
from chatd.store.turns import FencingToken, Turns

ANSWER = NewMessage(role=Role.ASSISTANT, content=text_content("an answer"))


# -- send against finish --------------------------------------------------------------------------


async def speak(chats: Chats, chat_id: UUID, name: str, count: int) -> list[tuple[int, str]]:
    """Say ``count`` things one after the other; returns at which version each was taken."""
    said: list[tuple[int, str]] = []
    while len(said) < count:
        words = f"{name}-{len(said)}"
        try:
            moved = await chats.send(chat_id, owner_id=OWNER, content=text_content(words))
        except QueueFull:
            await asyncio.sleep(0)
            continue
        said.append((moved.chat.version, words))
    return said


async def answer_all(database: Database, silence: asyncio.Event) -> int:
    """Claim the chat whenever it is pending, and finish turn after turn; returns how many."""
    leases, turns = Leases(database, worker_id=WORKER), Turns(database)
    finished = 0
    while True:
        silent = silence.is_set()
        claims = await leases.claim(1)
        if not claims and silent:
            return finished
        for claim in claims:
            moved = claim.result
            while moved.chat.status is Status.RUNNING:
                moved = await turns.apply(
                    fencing_token(claim.result),
                    FinishTurn(
                        step=moved.chat.committed_steps,
                        messages=[ANSWER],
                        settled_part=moved.chat.settled_part,
                    ),
                )
                finished += 1
                assert moved.chat.queue_length == 0 or moved.chat.status is Status.RUNNING


@pytest.mark.parametrize("speakers", [2, 8])
async def test_concurrent_sends_and_finishes_lose_no_message(wide: Database, speakers: int) -> None:
    chats = Chats(wide, limits=lambda: ChatLimits(max_queued_messages=5))
    created = await chats.create(owner_id=OWNER, model_config_id=MODEL)
    done = asyncio.Event()

    async def speakers_all() -> list[list[tuple[int, str]]]:
        each = 160 // speakers
        found = await gather_all(
            *(speak(chats, created.chat.id, f"s{n}", each) for n in range(speakers))
        )
        done.set()
        return found

    said, finished = await gather_all(speakers_all(), answer_all(wide, done))

    assert await check_all(wide) > 160
    history = await wide.fetch("SELECT * FROM chat_messages ORDER BY id")
    in_commit_order = [words for _, words in sorted(one for each in said for one in each)]
    assert texts(history) == in_commit_order
    assert len(texts(history)) == 160
    assert has_no_duplicates(texts(history))
    assert len(texts(history, "assistant")) == finished
    (chat,) = await wide.fetch("SELECT status, queue_length FROM chats")
    assert tuple(chat) == ("waiting", 0)
    ways = {  # the test is worth something only when both ways into history were taken
        way
        for row in await wide.fetch("SELECT data FROM chat_events WHERE transition = 'send'")
        for way in ("queued" if "queued" in row["data"] else "appended",)
    }
    assert ways == {"queued", "appended"}


# -- a statement that waited sees what came --------------------------------------------------------


async def queue_one(connection: Any, chat: Chat, words: str, position: int) -> None:
    """Queue a message as a send does: insert a row in another table, and raise the version."""
    await connection.execute(
        "INSERT INTO chat_queued_messages (chat_id, position, content, model_config_id)"
        " VALUES ($1, $2, $3, $4)",
        chat.id,
        position,
        text_content(words),
        OTHER_MODEL,
    )
    await connection.execute(
        "UPDATE chats SET version = version + 1, queue_length = queue_length + 1 WHERE id = $1",
        chat.id,
    )


Ask = Callable[[Database, Chat], Awaitable[TransitionResult]]
STEP: dict[str, Any] = {"step": 0, "messages": [ANSWER], "settled_part": 0}


@dataclass(frozen=True)
class Waits:
    """A move that reads the queue, and where it leads when the queue got a message meanwhile."""

    status: Status
    queued: int
    ask: Ask
    to: Status
    promoted: str = "came meanwhile"


def _hold(chat: Chat) -> FencingToken:
    return FencingToken(chat.id, WORKER, chat.epoch)


WAITING_MOVES = {
    "finish_turn": Waits(
        Status.RUNNING,
        0,
        lambda database, chat: Turns(database).apply(_hold(chat), FinishTurn(**STEP)),
        Status.RUNNING,
    ),
    "finish_interrupt": Waits(
        Status.INTERRUPTING,
        0,
        lambda database, chat: Turns(database).apply(_hold(chat), FinishInterrupt(**STEP)),
        Status.RUNNING,
    ),
    "reap_interrupt": Waits(
        Status.INTERRUPTING,
        0,
        lambda database, chat: Turns(database).apply(_hold(chat), ReapInterrupt(**STEP)),
        Status.PENDING,
    ),
    "send_after_an_error": Waits(
        Status.ERROR,
        0,
        lambda database, chat: Chats(database).send(
            chat.id, owner_id=OWNER, content=text_content("mine")
        ),
        Status.PENDING,
    ),
    "send_after_an_error_with_a_queue": Waits(
        Status.ERROR,
        2,
        lambda database, chat: Chats(database).send(
            chat.id, owner_id=OWNER, content=text_content("mine")
        ),
        Status.PENDING,
    ),
    "interrupt_of_pending": Waits(
        Status.PENDING,
        0,
        lambda database, chat: Chats(database).interrupt(chat.id, owner_id=OWNER),
        Status.PENDING,
    ),
    "interrupt_of_pending_with_a_queue": Waits(
        Status.PENDING,
        2,
        lambda database, chat: Chats(database).interrupt(chat.id, owner_id=OWNER),
        Status.PENDING,
    ),
}


@pytest.mark.parametrize("name", WAITING_MOVES)
async def test_transition_that_waited_sees_the_present_queue(database: Database, name: str) -> None:
    case = WAITING_MOVES[name]
    chat = await chat_with_status(database, case.status, queued=case.queued)
    before = database.statement_count
    async with row_locked(database, chat) as other:
        move = asyncio.create_task(case.ask(database, chat))  # type: ignore[arg-type]
        await wait_until_blocked(other)
        await queue_one(other, chat, case.promoted, position=-1)
    async with asyncio.timeout(WAIT_SECONDS):
        moved = await move
    assert database.statement_count - before == 2, "asked again, once"
    assert moved.chat.status is case.to
    assert moved.entry is not None
    assert [
        part["text"]
        for message in moved.entry.messages
        if message.role is Role.USER
        for part in message.content
    ] == [case.promoted]
    assert moved.chat.version == 3
    queue = await database.fetch("SELECT * FROM chat_queued_messages ORDER BY position, id")
    assert len(queue) == moved.chat.queue_length == case.queued + ("send" in name)
    assert case.promoted not in [row["content"][0]["text"] for row in queue]


@pytest.mark.parametrize("name", WAITING_MOVES)
async def test_wait_for_a_heartbeat_is_not_stale(database: Database, name: str) -> None:
    """A statement that waited for one that changed nothing it reads is done in one go."""
    case = WAITING_MOVES[name]
    chat = await chat_with_status(database, case.status, queued=max(case.queued, 1))
    before = database.statement_count
    async with row_locked(database, chat) as other:
        move = asyncio.create_task(case.ask(database, chat))  # type: ignore[arg-type]
        await wait_until_blocked(other)
        await other.execute(
            "UPDATE chats SET heartbeat_at = heartbeat_at + interval '1 second' WHERE id = $1",
            chat.id,
        )
    async with asyncio.timeout(WAIT_SECONDS):
        moved = await move
    assert database.statement_count - before == 1
    assert moved.chat.status is case.to
    assert moved.chat.version == 2
    assert moved.entry is not None
    assert moved.entry.messages[-1].content == text_content("queued 0")
    if moved.chat.heartbeat_at and chat.heartbeat_at:
        assert moved.chat.heartbeat_at > chat.heartbeat_at, "the beat is not undone"


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
            lambda database, chat: Messages(database).clear(chat.id, owner_id=OWNER),
            Status.WAITING,
            0,
            id="clear",
        ),
    ],
)
async def test_transition_that_waited_for_a_describe_is_applied_once(
    database: Database,
    status: Status,
    request_transition: Ask,
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
        moved = await send
    assert moved.queued_message is not None
    assert moved.queued_message.content == text_content("late")
    overtaken = {BusyBehavior.QUEUE: Status.RUNNING, BusyBehavior.INTERRUPT: Status.INTERRUPTING}
    assert moved.chat.status is overtaken[busy]


async def test_worker_that_waited_for_its_reaping_loses_the_lease(database: Database) -> None:
    chat = await chat_with_status(database, Status.RUNNING)
    async with row_locked(database, chat) as other:
        finish = asyncio.create_task(Turns(database).apply(_hold(chat), FinishTurn(**STEP)))
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


# -- claims and reaping ----------------------------------------------------------------------------


async def in_line(database: Database, count: int, **more: Any) -> list[UUID]:
    """Pending chats, longest waiting first, whatever the order of their ids and their rows."""
    ids = await insert_chats(database, count, Status.PENDING, **more)
    random.Random(5).shuffle(ids)
    await database.fetch(
        "UPDATE chats SET pending_since = pending_since + n * interval '1 second'"
        " FROM unnest($1::uuid[]) WITH ORDINALITY AS line (line_id, n) WHERE id = line_id",
        ids,
    )
    await database.fetch("ANALYZE chats")  # else the plan reads the line in order by luck
    return ids


async def test_each_pending_chat_is_claimed_once_in_order(wide: Database) -> None:
    line = await in_line(wide, 200, epoch=4)
    place = {chat_id: number for number, chat_id in enumerate(line)}

    async def claim_all(worker_id: UUID) -> list[list[Claim]]:
        leases = Leases(wide, worker_id=worker_id)
        batches: list[list[Claim]] = []
        while await wide.fetch("SELECT FROM chats WHERE status = 'pending' LIMIT 1"):
            batches.append(await leases.claim(7))
        return batches

    workers = [uuid4() for _ in range(8)]
    taken = await gather_all(*map(claim_all, workers))
    claims = [claim for batches in taken for batch in batches for claim in batch]
    assert {claim.result.chat.id for claim in claims} == set(line)
    assert len(claims) == 200
    assert {claim.result.chat.epoch for claim in claims} == {5}
    for worker_id, batches in zip(workers, taken, strict=True):
        assert {c.result.chat.worker_id for batch in batches for c in batch} <= {worker_id}
        assert all(len(batch) <= 7 for batch in batches)
        places = [sorted(place[claim.result.chat.id] for claim in batch) for batch in batches]
        flat = [number for batch in places for number in batch]
        assert flat == sorted(flat), "longest waiting first"
    assert sum(any(batches) for batches in taken) > 1, "they did claim side by side"


async def test_claim_takes_the_longest_pending_chats(database: Database) -> None:
    await insert_models(database)
    line = await in_line(database, 30)
    leases = Leases(database, worker_id=WORKER)
    for start in range(0, 30, 10):
        claims = await leases.claim(10)
        assert {claim.result.chat.id for claim in claims} == set(line[start : start + 10])
    assert await leases.claim(10) == []


async def test_claim_skips_locked_chats(database: Database) -> None:
    first = await chat_with_status(database, Status.PENDING)
    second = await chat_with_status(database, Status.PENDING)
    async with row_locked(database, first):
        (claim,) = await Leases(database, worker_id=WORKER).claim(2)
    assert claim.result.chat.id == second.id


async def test_four_reapers_reap_each_chat_once(wide: Database) -> None:
    gone = [
        chat_id
        for n in range(3)
        for chat_id in await insert_chats(wide, 20, Status.RUNNING, worker_id=UUID(int=n + 1))
    ]
    await wide.fetch(
        "UPDATE chats SET heartbeat_at = heartbeat_at - interval '1 hour' WHERE worker_id = $1",
        UUID(int=1),
    )

    async def reap_all(worker_id: UUID) -> list[TransitionResult]:
        leases = Leases(wide, worker_id=worker_id)
        found: list[TransitionResult] = []
        while await wide.fetch("SELECT FROM chats WHERE worker_id IS NOT NULL LIMIT 1"):
            found += await leases.reap(lease_seconds=60.0, max_recoveries=3, limit=7)
        return found

    reaped = [
        moved for each in await gather_all(*(reap_all(uuid4()) for _ in range(4))) for moved in each
    ]
    assert sorted(moved.chat.id for moved in reaped) == sorted(gone)
    assert {moved.chat.recoveries for moved in reaped} == {1}
    assert {moved.chat.version for moved in reaped} == {2}


async def test_chat_claimed_before_the_reap_is_not_reaped(database: Database) -> None:
    """The reaper saw a dead owner; by the time it would lock the row, it is somebody else's."""
    chat = await chat_with_status(database, Status.RUNNING, worker_id=UUID(int=1))
    async with row_locked(database, chat) as other:
        await other.execute(
            "UPDATE chats SET worker_id = $2, epoch = epoch + 1 WHERE id = $1", chat.id, WORKER
        )
        reaper = Leases(database, worker_id=UUID(int=2))
        assert await reaper.reap(lease_seconds=60.0, max_recoveries=3) == []
    async with database.dedicated_connection() as alive:
        assert await Leases(database, worker_id=WORKER).try_worker_lock(alive)
        assert await reaper.reap(lease_seconds=60.0, max_recoveries=3) == []


async def test_repeated_record_retry_counts_once(database: Database) -> None:
    """The answer was cut off, and the owner says the same again."""
    chat = await chat_with_status(database, Status.RUNNING)
    turns = Turns(database)
    said: dict[str, Any] = {"step": 0, "attempts": 1, "settled_part": 0, "failure": {}}
    await turns.apply(_hold(chat), RecordRetry(delay_seconds=1.0, **said))
    with pytest.raises(LeaseLost):
        await turns.apply(_hold(chat), RecordRetry(delay_seconds=1.0, **said))
    standing = await turns.current(chat.id)
    assert standing is not None
    assert (standing.attempts, standing.version) == (1, 2)
