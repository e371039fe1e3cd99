"""Streams that resume where a turn began in this process read nothing, and send what others send."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from uuid import UUID

import pytest
from support.chat_streams import chat_hub, deltas, opened
from support.claims import claim_chats
from support.factories import OWNER, chat_with_status
from support.transitions import make_transition

from chatd.domain.chat import Chat, Status
from chatd.domain.cursor import Cursor
from chatd.domain.errors import ChatNotFound
from chatd.domain.journal import JournalEntry
from chatd.domain.stream_events import StreamEvent
from chatd.domain.transitions import Transition
from chatd.fanout.change_bus import ChangeBus
from chatd.fanout.hub import ChatHub
from chatd.store.database import Database
from chatd.store.stream_reads import StreamStore
from chatd.streaming.chat_stream import subscribe_to_chat


async def claimed_chat(database: Database) -> Chat:
    """Return a chat that was sent a message and claimed."""
    chat = await chat_with_status(database, Status.WAITING)
    await make_transition(database, Transition.SEND, None, chat)
    [claim] = await claim_chats(database, 1)
    return claim.result.chat


async def journal(database: Database, chat: Chat) -> Sequence[JournalEntry]:
    [updates] = await StreamStore(database).updates_since([(chat.id, Cursor(chat.version - 2))])
    return updates.entries


async def hub_with_turn(database: Database, chat: Chat) -> tuple[ChatHub, ChangeBus]:
    """Return a hub of a process that began the turn of ``chat`` and streams its parts, and its bus."""
    hub = chat_hub()
    bus = ChangeBus(hub, notify_replicas=lambda _: None)
    bus.publish(await journal(database, chat), OWNER)
    preview = hub.start_step(chat.id, epoch=chat.epoch, base=chat.settled_part)
    for part in deltas("a", "b", "c"):
        hub.publish_part(chat.id, preview, part)
    return hub, bus


async def first_events(
    hub: ChatHub, database: Database, chat: Chat, cursor: Cursor
) -> tuple[list[StreamEvent], int]:
    """Return the events of a stream up to the last live part, and the statements that it took."""
    before = database.statement_count
    events: list[StreamEvent] = []
    async with opened(hub, database, chat.id, cursor) as (_, batches):
        while not (events and events[-1].cursor and events[-1].cursor.part == 3):
            events += await anext(batches)
    return events, database.statement_count - before


@pytest.mark.parametrize(
    "cursor", [Cursor(1), Cursor(2), Cursor(3, 1, 0), Cursor(3, 1, 1), Cursor(3, 1, 2)]
)
async def test_stream_from_where_a_turn_began_reads_nothing(
    database: Database, cursor: Cursor
) -> None:
    chat = await claimed_chat(database)
    assert (chat.version, chat.epoch) == (3, 1)
    hub, _ = await hub_with_turn(database, chat)
    events, statements = await first_events(hub, database, chat, cursor)
    assert statements == 0
    hub.begun_turns.forget_all()
    assert (events, 1) == await first_events(hub, database, chat, cursor)


async def test_turn_is_its_owners(database: Database) -> None:
    chat = await claimed_chat(database)
    hub, _ = await hub_with_turn(database, chat)
    with (
        subscribe_to_chat(hub, StreamStore(database), chat.id) as stream,
        pytest.raises(ChatNotFound),
    ):
        await stream.open(str(Cursor(chat.version)), owner_id="bob")


FORGOTTEN: dict[str, Callable[[ChatHub, ChangeBus, JournalEntry], None]] = {
    "step": lambda hub, bus, claim: bus.publish(
        [replace(claim, version=claim.version + 1, transition=Transition.COMMIT_STEP)], OWNER
    ),
    "hint": lambda hub, bus, claim: hub.handle_hint(claim.chat_id, claim.version + 1),
    "deletion": lambda hub, bus, claim: bus.publish_deleted(claim.chat_id, claim.version, OWNER),
    "unreadable": lambda hub, bus, claim: hub.cut(claim.chat_id),
    "end": lambda hub, bus, claim: hub.end_steps(claim.chat_id, epoch=claim.epoch),
    "missed hints": lambda hub, bus, claim: bus.resync(),
}


@pytest.mark.parametrize("change", FORGOTTEN)
async def test_turn_is_forgotten_once_it_may_not_be_all(database: Database, change: str) -> None:
    chat = await claimed_chat(database)
    hub, bus = await hub_with_turn(database, chat)
    assert hub.begun_turns.after(chat.id, chat.version, owner_id=OWNER)
    FORGOTTEN[change](hub, bus, (await journal(database, chat))[-1])
    assert hub.begun_turns.after(chat.id, chat.version, owner_id=OWNER) is None


async def test_begun_turns_are_bounded(database: Database) -> None:
    chat = await claimed_chat(database)
    turns = chat_hub().begun_turns
    entries = await journal(database, chat)
    ids = [UUID(int=number) for number in range(1, 1026)]
    for chat_id in ids:
        turns.note([replace(entry, chat_id=chat_id) for entry in entries], OWNER)
    known = [chat_id for chat_id in ids if turns.after(chat_id, chat.version, owner_id=None)]
    assert known == ids[1:]
    message = replace(entries[0].messages[0], size=65_537)
    turns.note([replace(entries[0], messages=(message,)), *entries[1:]], OWNER)
    assert turns.after(chat.id, chat.version, owner_id=None) is None
