"""Live parts of chats: flushed, inserted past a flush, and read."""

from chatd.domain.chat import BusyBehavior, Chat
from chatd.domain.cursor import Cursor
from chatd.domain.journal import JournalEntry
from chatd.domain.message import Part
from chatd.store.chats import Chats
from chatd.store.database import Database
from chatd.store.stream_reads import PartBatch, StreamStore
from support.factories import MODEL, OWNER, insert_models, text_content


def text_parts(*words: str) -> tuple[Part, ...]:
    """Return one text part for each word."""
    return tuple({"index": 0, "type": "text", "text": word} for word in words)


async def flush_texts(
    database: Database, chat: Chat, first: int, *words: str, epoch: int = 1
) -> None:
    """Flush text parts, the first of which has the number ``first``."""
    await StreamStore(database).flush_parts([PartBatch(chat.id, epoch, first, text_parts(*words))])


async def insert_late_parts(
    database: Database, chat: Chat, first: int, *words: str, epoch: int = 1
) -> None:
    """Store parts as a flush does whose snapshot is older than the transition that settled them."""
    await database.fetch(
        "INSERT INTO chat_parts (chat_id, epoch, first_part, last_part, parts) VALUES ($1, $2, $3, $4, $5)",
        chat.id,
        epoch,
        first,
        first + len(words) - 1,
        text_parts(*words),
    )


async def stored_batches(database: Database) -> list[tuple[int, int, int]]:
    """Return epoch, first part and last part of every batch."""
    query = (
        "SELECT epoch, first_part, last_part FROM chat_parts"
        " ORDER BY chat_id, epoch, last_part, first_part"
    )
    return [tuple(row) for row in await database.fetch(query)]


async def check_parts_are_deleted(database: Database, before: Chat, after: Chat) -> None:
    """Check that flushed parts are there for as long as the attempt that streams them goes on."""
    parts = await database.fetch("SELECT FROM chat_parts WHERE chat_id = $1", before.id)
    attempts = [(chat.worker_id, chat.epoch, chat.settled_part) for chat in (before, after)]
    assert bool(parts) == (attempts[0] == attempts[1])


async def live_parts(database: Database, chat: Chat) -> tuple[tuple[Part, ...], tuple[Part, ...]]:
    """Return the live parts, as a snapshot has them and as a stream from the beginning reads them."""
    streams = StreamStore(database)
    snapshot = await streams.snapshot(chat.id, owner_id=OWNER)
    assert snapshot is not None
    current = await streams.updates_since([(chat.id, Cursor(snapshot.chat.version))])
    from_start = await streams.updates_since([(chat.id, Cursor(0))])
    parts = [
        tuple(part for update in updates for batch in update.batches for part in batch.parts)
        for updates in (current, from_start)
    ]
    assert parts[0] == parts[1]
    if snapshot.chat.worker_id is None:
        assert current == [], "nothing new is left out"
    return snapshot.parts, parts[0]


async def create_and_send(database: Database, *words: str) -> list[JournalEntry]:
    """Create a chat and send to it. Return its journal entries."""
    await insert_models(database)
    chats = Chats(database)
    result = await chats.create(
        owner_id=OWNER, model_config_id=MODEL, content=text_content("first")
    )
    entries = [result.entry]
    for word in words:
        sent = await chats.send(
            result.chat.id,
            owner_id=OWNER,
            content=text_content(word),
            busy_behavior=BusyBehavior.INTERRUPT,
        )
        entries.append(sent.entry)
    return [entry for entry in entries if entry is not None]
