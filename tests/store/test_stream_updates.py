"""Updates of chats since a cursor: journal entries and live parts."""

from uuid import uuid4

import pytest
from support.factories import chat_with_status
from support.stored_parts import create_and_send, flush_texts, insert_late_parts, text_parts

from chatd.domain.chat import Status
from chatd.domain.cursor import Cursor
from chatd.domain.journal import JournalEntry
from chatd.domain.message import Part
from chatd.store.database import Database
from chatd.store.stream_reads import PartBatch, StreamStore


async def test_updates_since_reads_several_chats(database: Database) -> None:
    streams = StreamStore(database)
    behind, current, unknown = (
        await create_and_send(database, "a", "b", "c"),
        await create_and_send(database, "d"),
        uuid4(),
    )
    part_way = await chat_with_status(database, Status.RUNNING, epoch=2)
    await flush_texts(database, part_way, 1, "x", "y", "z", epoch=2)
    updates = await streams.updates_since(
        [
            (behind[0].chat_id, Cursor(2)),
            (current[0].chat_id, Cursor(2)),
            (unknown, Cursor(9, 9, 9)),
            (part_way.id, Cursor(1, 2, 1)),
        ]
    )
    by_chat = {update.chat_id: update for update in updates}
    assert set(by_chat) == {behind[0].chat_id, unknown, part_way.id}
    assert by_chat[behind[0].chat_id].entries == tuple(behind[2:])
    assert by_chat[behind[0].chat_id].version == 4
    assert by_chat[behind[0].chat_id].batches == ()
    assert by_chat[unknown].version is None
    assert by_chat[unknown].entries == ()
    assert by_chat[part_way.id].entries == ()
    assert by_chat[part_way.id].version == 1
    (batch,) = by_chat[part_way.id].batches
    assert batch == PartBatch(part_way.id, 2, 2, text_parts("y", "z"))


async def test_updates_since_is_limited_and_continues(database: Database) -> None:
    entries = await create_and_send(database, "a", "b", "c", "d")
    chat_id = entries[0].chat_id
    read: list[JournalEntry] = []
    cursor = Cursor(0)
    while updates := await StreamStore(database).updates_since([(chat_id, cursor)], limit=2):
        (update,) = updates
        assert len(update.entries) <= 2
        assert update.version == 5
        read += update.entries
        cursor = Cursor(update.entries[-1].version)
    assert read == entries


PARTS_CASES: dict[str, tuple[Cursor, tuple[int, tuple[Part, ...]] | None]] = {
    "from the start": (Cursor(1), (11, text_parts("a", "b", "c"))),
    "of an older epoch": (Cursor(1, 2, 12), (11, text_parts("a", "b", "c"))),
    "a step before": (Cursor(1, 3, 4), (11, text_parts("a", "b", "c"))),
    "in the middle of a batch": (Cursor(1, 3, 11), (12, text_parts("b", "c"))),
    "between batches": (Cursor(1, 3, 12), (13, text_parts("c"))),
    "all": (Cursor(1, 3, 13), None),
    "of a step that runs here": (Cursor(1, 3, 2**62), None),
}


@pytest.mark.parametrize("case", PARTS_CASES)
async def test_updates_since_reads_parts_after_the_cursor(database: Database, case: str) -> None:
    cursor, expected = PARTS_CASES[case]
    chat = await chat_with_status(database, Status.RUNNING, epoch=3, settled_part=10)
    await insert_late_parts(database, chat, 1, "settled", epoch=3)
    await insert_late_parts(database, chat, 11, "old", "epoch", epoch=2)
    await flush_texts(database, chat, 11, "a", "b", epoch=3)
    await flush_texts(database, chat, 13, "c", epoch=3)
    updates = await StreamStore(database).updates_since([(chat.id, cursor)])
    if expected is None:
        assert updates == []
        return
    (update,) = updates
    (batch,) = update.batches
    assert (batch.first_part, tuple(batch.parts)) == expected
    assert batch.last_part == 13
    assert (update.epoch, update.settled_part, update.entries) == (3, 10, ())
