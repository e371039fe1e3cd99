"""Streams of chats that this process has just made read nothing, and begin as others do."""

from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

import pytest
from support.chat_streams import chat_hub, opened
from support.factories import MODEL, OWNER, insert_models, text_content

from chatd.domain.chat import Chat
from chatd.domain.errors import ChatNotFound
from chatd.domain.transitions import Transition
from chatd.fanout.change_bus import ChangeBus
from chatd.fanout.hub import ChatHub
from chatd.fanout.new_chats import NewChats
from chatd.store.chats import Chats
from chatd.store.commits import CommitListener
from chatd.store.database import Database
from chatd.store.records import TransitionResult
from chatd.store.stream_reads import StreamStore
from chatd.streaming.chat_stream import subscribe_to_chat


class Process:
    """A process with its hub, which makes chats."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.hub = chat_hub()
        self.bus = ChangeBus(self.hub, notify_replicas=lambda _: None)
        listener = CommitListener(
            on_commit=self.bus.publish,
            on_create=self.hub.new_chats.note,
            on_delete=self.bus.publish_deleted,
        )
        self.chats = Chats(database, listener=listener)

    async def create(self, **more: object) -> TransitionResult:
        await insert_models(self.database)
        return await self.chats.create(owner_id=OWNER, model_config_id=MODEL, **more)  # type: ignore[arg-type]

    def knows(self, chat: Chat) -> bool:
        return self.hub.new_chats.snapshot(chat.id, owner_id=OWNER) is not None


async def first_events(hub: ChatHub, database: Database, chat: Chat) -> tuple[object, int]:
    """Return what a stream begins with, and the statements that it took."""
    before = database.statement_count
    async with opened(hub, database, chat.id) as (stream, _):
        return list(stream.first_events), database.statement_count - before


@pytest.mark.parametrize(
    "fields",
    [{}, {"system_prompt": "Be brief."}, {"title": "Trains", "labels": {"a": "b"}}],
    ids=["plain", "prompt", "described"],
)
async def test_stream_of_a_new_chat_begins_as_one_that_reads_it(
    database: Database, fields: dict[str, object]
) -> None:
    process = Process(database)
    chat = (await process.create(**fields)).chat
    known, statements = await first_events(process.hub, database, chat)
    assert statements == 0
    process.hub.new_chats.forget_all()
    assert (known, 1) == await first_events(process.hub, database, chat)


async def test_new_chat_is_its_owners(database: Database) -> None:
    process = Process(database)
    chat = (await process.create()).chat
    with (
        subscribe_to_chat(process.hub, StreamStore(database), chat.id) as stream,
        pytest.raises(ChatNotFound),
    ):
        await stream.open(None, owner_id="bob")


async def test_chat_with_a_message_is_read(database: Database) -> None:
    process = Process(database)
    assert not process.knows((await process.create(content=text_content("Hello"))).chat)


CHANGES: dict[str, Callable[[Process, TransitionResult], None]] = {
    "transition": lambda process, made: process.bus.publish(
        [replace(made.entry, version=2, transition=Transition.DESCRIBE)],  # type: ignore[type-var]
        OWNER,
    ),
    "hint": lambda process, made: process.hub.handle_hint(made.chat.id, 2),
    "deletion": lambda process, made: process.bus.publish_deleted(made.chat.id, 1, OWNER),
    "unreadable": lambda process, made: process.hub.cut(made.chat.id),
    "read": lambda process, made: process.hub.apply_read(
        made.chat.id, [], after_version=1, version=2, epoch=0, settled_part=0, batches=()
    ),
    "missed hints": lambda process, made: process.bus.resync(),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_chat_that_may_have_changed_is_read(database: Database, change: str) -> None:
    process = Process(database)
    made = await process.create()
    assert process.knows(made.chat)
    CHANGES[change](process, made)
    assert not process.knows(made.chat)


async def test_chat_is_read_once_it_is_not_new_any_more(database: Database) -> None:
    made = await Process(database).create()
    now = 100.0
    chats = NewChats(clock=lambda: now)
    chats.note(made.chat, ())
    assert chats.snapshot(made.chat.id, owner_id=None) is not None
    now = 105.1
    assert chats.snapshot(made.chat.id, owner_id=None) is None


async def test_new_chats_are_bounded(database: Database) -> None:
    process = Process(database)
    made = await process.create(system_prompt="Be brief.")
    chats = [replace(made.chat, id=UUID(int=number)) for number in range(1, 1025)]
    for chat in chats:
        process.hub.new_chats.note(chat, ())
    assert not process.knows(made.chat)
    assert all(map(process.knows, chats))
    process.hub.new_chats.forget_all()
    process.hub.new_chats.note(made.chat, [replace(made.messages[0], size=65_537)])
    assert not process.knows(made.chat)
