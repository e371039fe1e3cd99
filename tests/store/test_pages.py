"""Pages of messages, queue and journal, and snapshots: each is bounded in bytes, and holds something."""

from collections.abc import Sequence
from uuid import UUID

from support.factories import OWNER, chat_with_status, text_content
from support.stored_messages import insert_message
from support.stored_parts import create_and_send, flush_texts, text_parts

from chatd.domain.chat import Chat, Status
from chatd.domain.cursor import Cursor
from chatd.domain.journal import JournalEntry
from chatd.domain.message import Message, QueuedMessage
from chatd.store.database import Database
from chatd.store.reads import ChatReader, Page
from chatd.store.stream_reads import StreamStore

SIZE = 10_000
"""Characters of each message."""
MAX_BYTES = 2 * (SIZE + 600)
"""A page of two messages."""


async def large_chat(database: Database, *, messages: int = 5, size: int = SIZE) -> list[UUID]:
    chat = await chat_with_status(database, Status.WAITING)
    for _ in range(messages - 1):  # it has one of its own
        await insert_message(database, chat, "assistant", "x" * size)
    return [chat.id]


def ids(items: Sequence[Message | QueuedMessage]) -> list[int]:
    return [item.id for item in items]


async def test_pages_of_messages_end_by_bytes_and_by_number(database: Database) -> None:
    (chat_id,) = await large_chat(database)
    reads = ChatReader(database)
    everything = await reads.messages_after(chat_id, 0, limit=100)
    assert (len(everything.items), everything.has_more) == (5, False)
    assert everything.items[1].size >= SIZE
    for limit, max_bytes, pages in (
        (100, MAX_BYTES, [2, 2, 1]),  # "hello" and one that is large, then two
        (100, 100, [1, 1, 1, 1, 1]),
        (2, 10**6, [2, 2, 1]),
        (5, 10**6, [5]),
    ):
        for backwards in (False, True):
            found: list[int] = []
            lengths, position = [], 2**62 if backwards else 0
            has_more = True
            while has_more:
                read = reads.messages_before if backwards else reads.messages_after
                page: Page[Message] = await read(
                    chat_id, position, limit=limit, max_bytes=max_bytes
                )
                has_more = page.has_more
                position = page.items[0 if backwards else -1].id
                found = ids(page.items) + found if backwards else found + ids(page.items)
                lengths.append(len(page.items))
            assert found == ids(everything.items)
            assert lengths == pages, (limit, max_bytes, backwards)
    assert await reads.messages_after(chat_id, 2**62, limit=1) == Page([], has_more=False)


async def test_pages_of_the_queue_follow_its_order(database: Database) -> None:
    chat = await chat_with_status(database, Status.RUNNING, queued=5)
    await database.fetch("UPDATE chat_queued_messages SET position = -id")
    reads = ChatReader(database)
    everything = ids((await reads.queue(chat.id, limit=100)).items)
    assert everything == sorted(everything, reverse=True)
    found: list[int] = []
    has_more = True
    while has_more:
        page = await reads.queue(chat.id, found[-1] if found else 0, limit=3, max_bytes=1100)
        assert len(page.items) in {1, 2}
        found, has_more = found + ids(page.items), page.has_more
    assert found == everything
    await database.fetch("DELETE FROM chat_queued_messages WHERE id = $1", found[0])
    after_one_that_left = await reads.queue(chat.id, found[0], limit=3)
    assert ids(after_one_that_left.items) == everything[1:4]


async def test_snapshot_has_the_newest_messages_within_its_bound(database: Database) -> None:
    (chat_id,) = await large_chat(database)
    streams, reads = StreamStore(database), ChatReader(database)
    everything = (await reads.messages_after(chat_id, 0, limit=100)).items
    for max_bytes, expected in ((10**6, 5), (MAX_BYTES, 2), (1000, 1)):
        snapshot = await streams.snapshot(chat_id, owner_id=OWNER, max_bytes=max_bytes)
        assert snapshot is not None
        assert ids(snapshot.messages) == ids(everything[-expected:])
        assert snapshot.has_older == (expected < 5)
    older = await reads.messages_before(chat_id, snapshot.messages[0].id, limit=100)
    assert ids(older.items) == ids(everything[:4])


async def test_snapshot_does_not_count_what_nobody_sees(database: Database) -> None:
    (chat_id,) = await large_chat(database, messages=3)
    await database.fetch(
        "UPDATE chat_messages SET superseded_version = 2 WHERE chat_id = $1 AND role = 'assistant'",
        chat_id,
    )
    snapshot = await StreamStore(database).snapshot(chat_id, owner_id=OWNER, max_bytes=1000)
    assert snapshot is not None
    assert [message.content for message in snapshot.messages] == [text_content("hello")]
    assert not snapshot.has_older


async def test_snapshot_has_the_calls_that_a_client_is_to_run(database: Database) -> None:
    """They are in a message that others, with results of other tools, may follow."""
    chat = await chat_with_status(database, Status.REQUIRES_ACTION)
    before = await StreamStore(database).snapshot(chat.id, owner_id=OWNER)
    assert before is not None
    assert before.action_required is not None
    assert before.action_required["calls"]
    for _ in range(3):
        await insert_message(database, chat, "tool", "x" * SIZE)
    snapshot = await StreamStore(database).snapshot(chat.id, owner_id=OWNER, max_bytes=2000)
    assert snapshot is not None
    assert snapshot.action_required == before.action_required


async def test_snapshot_bounds_queue_and_parts(database: Database) -> None:
    chat = await chat_with_status(database, Status.RUNNING, queued=5)
    for number in range(5):
        await flush_texts(database, chat, 1 + number, "x" * 1000)
    streams = StreamStore(database)
    snapshot = await streams.snapshot(chat.id, owner_id=OWNER, max_bytes=2200)
    assert snapshot is not None
    assert 1 <= len(snapshot.queue) < 5
    assert snapshot.chat.queue_length == 5
    assert snapshot.parts == text_parts("x" * 1000, "x" * 1000)
    (update,) = await streams.updates_since(
        [(chat.id, Cursor(chat.version, chat.epoch, 2))], max_bytes=2200
    )
    (batch,) = update.batches
    assert (batch.first_part, len(batch.parts)) == (3, 2), "the next ones, at the next read"


async def test_updates_of_one_chat_come_in_pages(database: Database) -> None:
    entries = await create_and_send(database, *("x" * SIZE for _ in range(5)))
    chat_id = entries[0].chat_id
    for max_bytes, longest in ((MAX_BYTES, 2), (1, 1), (10**6, 6)):
        read: list[JournalEntry] = []
        lengths = []
        while updates := await StreamStore(database).updates_since(
            [(chat_id, Cursor(len(read)))], max_bytes=max_bytes
        ):
            (update,) = updates
            assert update.version == len(entries)
            assert update.entries, "one at least, or the next read is the same"
            read += update.entries
            lengths.append(len(update.entries))
        assert read == entries
        assert max(lengths) == longest


async def test_updates_of_many_chats_share_one_bound(database: Database) -> None:
    """Chats that are left out are still said to have changed, so that they are read again."""
    chats: list[Chat] = []
    for _ in range(6):
        (entry, *_) = await create_and_send(database, "x" * SIZE)
        chats.append(await ChatReader(database).chat(entry.chat_id, owner_id=OWNER))
    positions = {chat.id: 0 for chat in chats}
    rounds = 0
    while positions:
        rounds += 1
        updates = await StreamStore(database).updates_since(
            [(chat_id, Cursor(version)) for chat_id, version in positions.items()],
            max_bytes=MAX_BYTES,
        )
        assert {update.chat_id for update in updates} == set(positions)
        entries = [entry for update in updates for entry in update.entries]
        assert len(entries) >= 1
        assert sum(entry.size for entry in entries) <= MAX_BYTES
        for entry in entries:
            assert entry.version == positions[entry.chat_id] + 1
            positions[entry.chat_id] = entry.version
        for chat in chats:
            if positions.get(chat.id) == chat.version:
                del positions[chat.id]
    assert rounds >= 3
