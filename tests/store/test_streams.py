"""What streams are made of: every read is of one moment, and nothing settled is served as live."""

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from support.concurrency import gather_all, insert_chats, row_locked
from support.factories import (
    MODEL,
    OTHER_MODEL,
    OWNER,
    WORKER,
    chat_with_status,
    insert_models,
    text_content,
)
from support.transitions import make_transition, may_queue

from chatd.domain.chat import IDLE, LEASED, BusyBehavior, Chat, Status
from chatd.domain.cursor import Cursor
from chatd.domain.journal import JournalEntry
from chatd.domain.message import NewMessage, Part, Role, Visibility
from chatd.domain.transitions import TABLE, Transition
from chatd.store.chats import Chats
from chatd.store.commands import CommitStep, Fail, FinishTurn, RecordRetry, Release
from chatd.store.database import Database
from chatd.store.leases import Leases
from chatd.store.reads import ChatReader
from chatd.store.stream_reads import PartBatch, StreamStore
from chatd.store.turns import FencingToken, Turns

ANSWER = NewMessage(role=Role.ASSISTANT, content=text_content("an answer"))


def said(*words: str) -> tuple[Part, ...]:
    return tuple({"index": 0, "type": "text", "text": word} for word in words)


def fence(chat: Chat) -> FencingToken:
    return FencingToken(chat.id, WORKER, chat.epoch)


async def flush(database: Database, chat: Chat, first: int, *words: str, epoch: int = 1) -> None:
    await StreamStore(database).flush_parts([PartBatch(chat.id, epoch, first, said(*words))])


async def slip_in(database: Database, chat: Chat, first: int, *words: str, epoch: int = 1) -> None:
    """Store parts as a flush does whose snapshot is older than the transition that settled them."""
    await database.fetch(
        "INSERT INTO chat_parts (chat_id, epoch, first_part, last_part, parts) VALUES ($1, $2, $3, $4, $5)",
        chat.id,
        epoch,
        first,
        first + len(words) - 1,
        said(*words),
    )


async def stored(database: Database) -> list[tuple[int, int, int]]:
    """Return epoch, first part and last part of every batch."""
    query = (
        "SELECT epoch, first_part, last_part FROM chat_parts"
        " ORDER BY chat_id, epoch, last_part, first_part"
    )
    return [tuple(row) for row in await database.fetch(query)]


async def live(database: Database, chat: Chat) -> tuple[tuple[Part, ...], tuple[Part, ...]]:
    """Return the live parts, as a snapshot has them and as a stream from the beginning reads them."""
    streams = StreamStore(database)
    snapshot = await streams.snapshot(chat.id, owner_id=OWNER)
    assert snapshot is not None
    here = await streams.updates_since([(chat.id, Cursor(snapshot.chat.version))])
    behind = await streams.updates_since([(chat.id, Cursor(0))])
    found = [
        tuple(part for one in news for batch in one.batches for part in batch.parts)
        for news in (here, behind)
    ]
    assert found[0] == found[1]
    if snapshot.chat.worker_id is None:
        assert here == [], "nothing new is left out"
    return snapshot.parts, found[0]


# -- snapshots ---------------------------------------------------------------------------------------


async def test_snapshot_has_what_a_person_sees(database: Database) -> None:
    chat = await chat_with_status(database, Status.RUNNING, queued=2)
    for visibility, superseded in (("user", None), ("model", None), ("both", 1)):
        await database.fetch(
            "INSERT INTO chat_messages (chat_id, version, role, content, visibility,"
            " superseded_version) VALUES ($1, 1, 'assistant', $2, $3, $4)",
            chat.id,
            text_content(visibility),
            visibility,
            superseded,
        )
    await database.fetch("UPDATE chat_queued_messages SET position = -id")
    await flush(database, chat, 1, "a", "b")
    await flush(database, chat, 3, "c")
    snapshot = await StreamStore(database).snapshot(chat.id, owner_id=OWNER)
    assert snapshot is not None
    assert snapshot.chat == chat
    assert [message.content for message in snapshot.messages] == [
        text_content("hello"),
        text_content("user"),
    ]
    assert [q.content for q in snapshot.queue] == [
        text_content("queued 1"),
        text_content("queued 0"),
    ]
    assert {q.model_config_id for q in snapshot.queue} == {OTHER_MODEL}
    assert snapshot.parts == said("a", "b", "c")
    assert await StreamStore(database).snapshot(chat.id, owner_id="bob") is None
    assert await StreamStore(database).snapshot(uuid4(), owner_id=OWNER) is None


async def test_snapshot_is_of_one_moment(wide: Database) -> None:
    """Whatever the owner does meanwhile: chat, messages, queue and parts fit each other."""
    chat = await chat_with_status(wide, Status.RUNNING)
    streams, turns, over = StreamStore(wide), Turns(wide), asyncio.Event()

    async def work() -> None:
        for step in range(60):
            standing = await turns.current(chat.id)
            assert standing is not None
            base = standing.settled_part
            await streams.flush_parts([PartBatch(chat.id, 1, base + 1, said(str(step)))])
            answer = NewMessage(role=Role.ASSISTANT, content=text_content(str(step)))
            await turns.apply(
                fence(chat), CommitStep(step=step, messages=[answer], settled_part=base + 1)
            )
        over.set()

    async def look() -> int:
        seen = set()
        while not over.is_set():
            snapshot = await streams.snapshot(chat.id, owner_id=OWNER)
            assert snapshot is not None
            answers = [m.content[0]["text"] for m in snapshot.messages if m.role is Role.ASSISTANT]
            assert answers == [str(n) for n in range(snapshot.chat.committed_steps)]
            assert snapshot.messages[-1].version == snapshot.chat.version
            assert snapshot.parts in [(), said(str(snapshot.chat.committed_steps))]
            seen.add((snapshot.chat.committed_steps, len(snapshot.parts)))
        return len(seen)

    _, *looked = await gather_all(work(), look(), look(), look())
    assert max(looked) > 5


# -- the entry that the mover has is the entry that others read -----------------------------------------


COUNTED = [
    pytest.param(move, busy, status, id=f"{move}-{busy}-{status}")
    for (move, busy), cells in TABLE.items()
    for status, cell in cells.items()
    if status is not None and cell.journaled
]


@pytest.mark.parametrize(("move", "busy", "status"), COUNTED)
async def test_every_replica_reads_the_same_entry(
    database: Database, move: Transition, busy: BusyBehavior | None, status: Status
) -> None:
    """Local viewers are fed what the move answered, others read the journal; both must be the same."""
    archived = move is Transition.UNARCHIVE and status in IDLE
    queued = 2 if may_queue(status) and not archived else 0
    chat = await chat_with_status(database, status, queued=queued, archived=archived)
    moved = await make_transition(database, move, busy, chat)
    (news,) = await StreamStore(database).updates_since([(chat.id, Cursor(1))])
    assert news.entries == (moved.entry,)
    assert (news.version, news.epoch, news.settled_part) == (
        moved.chat.version,
        moved.chat.epoch,
        moved.chat.settled_part,
    )
    (entry,) = await ChatReader(database).journal_entries(chat.id, after=1, limit=10)
    assert moved.entry is not None
    assert entry.data == moved.entry.data


async def test_model_only_message_is_in_no_entry(database: Database) -> None:
    chat = await chat_with_status(database, Status.RUNNING)
    summary = NewMessage(role=Role.USER, content=text_content("psst"), visibility=Visibility.MODEL)
    moved = await Turns(database).apply(
        fence(chat), CommitStep(step=0, messages=[summary, ANSWER], settled_part=0)
    )
    (news,) = await StreamStore(database).updates_since([(chat.id, Cursor(1))])
    assert news.entries == (moved.entry,)
    assert [message.content for message in news.entries[0].messages] == [ANSWER.content]


STEP_ENDS = [
    Transition.COMMIT_STEP,
    Transition.RECORD_RETRY,
    Transition.FINISH_TURN,
    Transition.FINISH_INTERRUPT,
    Transition.FAIL,
    Transition.RELEASE,
    Transition.REAP,
    Transition.REAP_INTERRUPT,
]


@pytest.mark.parametrize("settled_part", [0, 6, 7, 30])
@pytest.mark.parametrize("move", STEP_ENDS)
async def test_every_end_of_a_step_raises_settled_part(
    database: Database, move: Transition, settled_part: int
) -> None:
    """So the parts of the next try can never be taken for parts of this one."""
    status = Status.INTERRUPTING if "interrupt" in move else Status.RUNNING
    chat = await chat_with_status(database, status, settled_part=settled_part, queued=1)
    moved = await make_transition(database, move, None, chat)
    assert moved.chat.settled_part > settled_part
    assert moved.entry is not None
    assert moved.entry.data["settled_part"] == moved.chat.settled_part


# -- since ---------------------------------------------------------------------------------------------


async def create(database: Database, *words: str) -> list[JournalEntry]:
    """Create a chat and send to it. Return its journal entries."""
    await insert_models(database)
    chats = Chats(database)
    moved = await chats.create(owner_id=OWNER, model_config_id=MODEL, content=text_content("first"))
    entries = [moved.entry]
    for word in words:
        sent = await chats.send(
            moved.chat.id,
            owner_id=OWNER,
            content=text_content(word),
            busy_behavior=BusyBehavior.INTERRUPT,
        )
        entries.append(sent.entry)
    return [entry for entry in entries if entry is not None]


async def test_updates_since_reads_several_chats(database: Database) -> None:
    streams = StreamStore(database)
    behind, current, gone = (
        await create(database, "a", "b", "c"),
        await create(database, "d"),
        uuid4(),
    )
    part_way = await chat_with_status(database, Status.RUNNING, epoch=2)
    await flush(database, part_way, 1, "x", "y", "z", epoch=2)
    news = await streams.updates_since(
        [
            (behind[0].chat_id, Cursor(2)),
            (current[0].chat_id, Cursor(2)),
            (gone, Cursor(9, 9, 9)),
            (part_way.id, Cursor(1, 2, 1)),
        ]
    )
    found = {one.chat_id: one for one in news}
    assert set(found) == {behind[0].chat_id, gone, part_way.id}
    assert found[behind[0].chat_id].entries == tuple(behind[2:])
    assert found[behind[0].chat_id].version == 4
    assert found[behind[0].chat_id].batches == ()
    assert found[gone].version is None
    assert found[gone].entries == ()
    assert found[part_way.id].entries == ()
    assert found[part_way.id].version == 1
    (batch,) = found[part_way.id].batches
    assert batch == PartBatch(part_way.id, 2, 2, said("y", "z"))


async def test_updates_since_is_limited_and_continues(database: Database) -> None:
    entries = await create(database, "a", "b", "c", "d")
    chat_id = entries[0].chat_id
    read: list[JournalEntry] = []
    cursor = Cursor(0)
    while news := await StreamStore(database).updates_since([(chat_id, cursor)], limit=2):
        (one,) = news
        assert len(one.entries) <= 2
        assert one.version == 5
        read += one.entries
        cursor = Cursor(one.entries[-1].version)
    assert read == entries


PARTS_CASES: dict[str, tuple[Cursor, tuple[int, tuple[Part, ...]] | None]] = {
    "from the start": (Cursor(1), (11, said("a", "b", "c"))),
    "of an older epoch": (Cursor(1, 2, 12), (11, said("a", "b", "c"))),
    "a step before": (Cursor(1, 3, 4), (11, said("a", "b", "c"))),
    "in the middle of a batch": (Cursor(1, 3, 11), (12, said("b", "c"))),
    "between batches": (Cursor(1, 3, 12), (13, said("c"))),
    "all": (Cursor(1, 3, 13), None),
    "of a step that runs here": (Cursor(1, 3, 2**62), None),
}


@pytest.mark.parametrize("case", PARTS_CASES)
async def test_updates_since_reads_parts_after_the_cursor(database: Database, case: str) -> None:
    cursor, expected = PARTS_CASES[case]
    chat = await chat_with_status(database, Status.RUNNING, epoch=3, settled_part=10)
    await slip_in(database, chat, 1, "settled", epoch=3)
    await slip_in(database, chat, 11, "old", "epoch", epoch=2)
    await flush(database, chat, 11, "a", "b", epoch=3)
    await flush(database, chat, 13, "c", epoch=3)
    news = await StreamStore(database).updates_since([(chat.id, cursor)])
    if expected is None:
        assert news == []
        return
    (one,) = news
    (batch,) = one.batches
    assert (batch.first_part, tuple(batch.parts)) == expected
    assert batch.last_part == 13
    assert (one.epoch, one.settled_part, one.entries) == (3, 10, ())


# -- flushing ------------------------------------------------------------------------------------------


async def test_settled_or_outdated_parts_are_not_flushed(database: Database) -> None:
    chat = await chat_with_status(database, Status.RUNNING, epoch=2, settled_part=5)
    idle = await chat_with_status(database, Status.PENDING, epoch=2)
    await StreamStore(database).flush_parts(
        [
            PartBatch(chat.id, 1, 6, said("an older epoch")),
            PartBatch(chat.id, 3, 6, said("an epoch that is not")),
            PartBatch(chat.id, 2, 5, said("settled")),
            PartBatch(idle.id, 2, 1, said("nobody works on it")),
            PartBatch(uuid4(), 2, 1, said("no such chat")),
            PartBatch(chat.id, 2, 6, said("live")),
        ]
    )
    assert await stored(database) == [(2, 6, 6)]
    await StreamStore(database).flush_parts([])


ENDS: dict[str, Callable[[Database, Chat], Any]] = {
    "commit_step": lambda db, chat: Turns(db).apply(
        fence(chat), CommitStep(step=0, messages=[ANSWER], settled_part=2)
    ),
    "record_retry": lambda db, chat: Turns(db).apply(
        fence(chat), RecordRetry(step=0, attempts=1, delay_seconds=0, settled_part=2, failure={})
    ),
    "finish_turn": lambda db, chat: Turns(db).apply(
        fence(chat), FinishTurn(step=0, messages=[ANSWER], settled_part=2)
    ),
    "fail": lambda db, chat: Turns(db).apply(
        fence(chat),
        Fail(step=chat.committed_steps, last_error="no", last_error_detail={}, settled_part=2),
    ),
    "release": lambda db, chat: Turns(db).apply(fence(chat), Release(step=0, reason="test")),
    "reap": lambda db, _: Leases(db, worker_id=uuid4()).reap(lease_seconds=60, max_recoveries=3),
}


@pytest.mark.parametrize("queued", [0, 1])
@pytest.mark.parametrize("end", ENDS)
async def test_end_of_a_step_deletes_its_parts(database: Database, end: str, queued: int) -> None:
    """They are gone at once; what is flushed too late is refused, or slips in and is never served."""
    chat = await chat_with_status(database, Status.RUNNING, queued=queued)
    await flush(database, chat, 1, "a", "b")
    assert await live(database, chat) == (said("a", "b"), said("a", "b"))
    await ENDS[end](database, chat)
    assert await stored(database) == []
    assert await live(database, chat) == ((), ())
    await flush(database, chat, 2, "b")
    assert await stored(database) == []
    await slip_in(database, chat, 2, "b")
    assert await live(database, chat) == ((), ())
    for claim in await Leases(database, worker_id=WORKER).claim(1):
        assert await live(database, claim.result.chat) == ((), ())
    assert await StreamStore(database).prune_parts() == 1
    assert await stored(database) == []


async def test_parts_of_a_fenced_worker_are_not_read(database: Database) -> None:
    """It was reaped and does not know: neither its late parts nor its epoch is anybody's step."""
    chat = await chat_with_status(database, Status.RUNNING)
    await ENDS["reap"](database, chat)
    await slip_in(database, chat, 40, "zombie")
    assert await live(database, chat) == ((), ())
    (claim,) = await Leases(database, worker_id=WORKER).claim(1)
    await flush(database, chat, 41, "zombie")
    await flush(database, chat, 1, "fresh", epoch=claim.result.chat.epoch)
    assert await live(database, chat) == (said("fresh"), said("fresh"))


async def test_batches_are_joined_without_overlap_or_gap(database: Database) -> None:
    chat = await chat_with_status(database, Status.RUNNING)
    await flush(database, chat, 1, "a", "b")
    await flush(database, chat, 1, "a", "b")  # said again
    await flush(database, chat, 1, "a", "b", "c")  # said again, longer
    await flush(database, chat, 3, "c", "d")
    assert await live(database, chat) == (said(*"abcd"), said(*"abcd"))
    await flush(database, chat, 6, "f")  # the server crashed, and what came between is lost
    assert await live(database, chat) == (said(*"abcd"), said(*"abcd"))
    await database.fetch("DELETE FROM chat_parts WHERE first_part = 1")
    assert await live(database, chat) == ((), ())


# -- retention -----------------------------------------------------------------------------------------


async def test_resumable_range_is_what_the_journal_still_has(database: Database) -> None:
    entries = await create(database, "a", "b", "c")
    chat_id, streams = entries[0].chat_id, StreamStore(database)

    async def resumable() -> list[int]:
        span = await streams.resumable_range(chat_id, owner_id=OWNER)
        assert span is not None
        return [version for version in range(8) if span.contains(Cursor(version))]

    assert await resumable() == [0, 1, 2, 3, 4]
    await database.fetch(
        "UPDATE chat_events SET created_at = created_at - interval '8 days' WHERE version <= 2"
    )
    assert await streams.prune_journal(retention_days=7.0) == 2
    assert await resumable() == [2, 3, 4]
    assert await streams.prune_journal(retention_days=0.0) == 1
    assert await resumable() == [3, 4], "the newest row is kept, as the edge"
    await database.fetch("DELETE FROM chat_events")
    assert await resumable() == [4]
    assert await streams.resumable_range(chat_id, owner_id="bob") is None
    assert await streams.resumable_range(uuid4(), owner_id=OWNER) is None


async def test_pruned_journal_has_no_gap(database: Database) -> None:
    """Also when a sweep ends in the middle, wherever the rows lie on disk."""
    await insert_models(database)
    ids = await insert_chats(database, 3, Status.WAITING, version=5)
    for version in (5, 2, 4, 1, 3):  # the order on disk
        await database.fetch(
            "INSERT INTO chat_events (chat_id, version, created_at, transition, status, epoch)"
            " SELECT id, $2::bigint, clock_timestamp() - interval '1 day' + $2 * interval '1 second',"
            " 'send', 'waiting', 0 FROM unnest($1::uuid[]) AS id",
            ids,
            version,
        )
    await database.fetch("ANALYZE chats, chat_events")  # else the plan reads them in order by luck
    streams = StreamStore(database)
    sweeps = []
    while gone := await streams.prune_journal(retention_days=0.5, limit=5):
        sweeps.append(gone)
        left = await database.fetch(
            "SELECT array_agg(version ORDER BY version) AS versions FROM chat_events GROUP BY chat_id"
        )
        for row in left:
            assert row["versions"] == list(range(row["versions"][0], 6))
    assert sweeps == [5, 5, 2]


async def test_parts_that_no_step_will_settle_are_pruned(database: Database) -> None:
    chat = await chat_with_status(database, Status.RUNNING, epoch=2, settled_part=5)
    idle = await chat_with_status(database, Status.WAITING, epoch=2)
    await slip_in(database, chat, 9, "an older epoch", epoch=1)
    await slip_in(database, chat, 5, "settled", epoch=2)
    await slip_in(database, chat, 6, "live", epoch=2)
    await slip_in(database, idle, 1, "nobody works on it", epoch=2)
    await database.fetch(
        "INSERT INTO chat_parts VALUES ($1, 1, 1, 1, '[{}]')", UUID(int=7)  # of a deleted chat
    )  # fmt: skip
    streams = StreamStore(database)
    assert await streams.prune_parts(limit=1) == 1
    assert await streams.prune_parts() == 3
    assert await stored(database) == [(2, 6, 6)]


async def test_prune_does_not_wait_for_a_transition(database: Database) -> None:
    """A move that deletes its chat's parts may be waiting for a row that the sweeper has."""
    chat = await chat_with_status(database, Status.WAITING)
    await slip_in(database, chat, 1, "a")
    await slip_in(database, chat, 2, "b")
    async with row_locked(database, chat) as other, asyncio.timeout(8):
        await other.execute("DELETE FROM chat_parts WHERE first_part = 1")
        assert await StreamStore(database).prune_parts() == 1
    assert await stored(database) == []


@pytest.mark.parametrize("status", Status)
async def test_only_leased_chats_have_live_parts(database: Database, status: Status) -> None:
    chat = await chat_with_status(database, status, **({} if status in LEASED else {"epoch": 1}))
    await slip_in(database, chat, 1, "a")
    expected = said("a") if status in LEASED else ()
    assert await live(database, chat) == (expected, expected)
