"""A client's own id of a message: kept with it through the queue, edits and forks, and found by it."""

from uuid import uuid4

import pytest
from support.factories import OWNER, WORKER, chat_with_status, text_content
from support.query_plans import BOTH, indexes, plan

from chatd.domain.chat import Status
from chatd.domain.errors import ChatNotFound
from chatd.domain.message import (
    MAX_CLIENT_KEY_LENGTH,
    Message,
    QueuedMessage,
    client_key,
    with_client_key,
)
from chatd.store.chats import Chats
from chatd.store.commands import FinishTurn
from chatd.store.database import Database
from chatd.store.messages import Messages
from chatd.store.reads import ChatReader
from chatd.store.stream_reads import StreamStore
from chatd.store.turns import FencingToken, Turns

KEYED = with_client_key(text_content("why?"), "u_x1")


async def test_message_is_found_before_and_after_it_leaves_the_queue(database: Database) -> None:
    chat = await chat_with_status(database, Status.RUNNING)
    reads = ChatReader(database)
    sent = await Chats(database).send(chat.id, owner_id=OWNER, content=KEYED)
    queued = await reads.message_by_client_key(chat.id, "u_x1", owner_id=OWNER)
    assert isinstance(queued, QueuedMessage)
    assert queued == sent.queued_message
    fence = FencingToken(chat.id, WORKER, chat.epoch)
    await Turns(database).apply(fence, FinishTurn(step=0, messages=[], settled_part=0))
    taken = await reads.message_by_client_key(chat.id, "u_x1", owner_id=OWNER)
    assert isinstance(taken, Message)
    assert taken.content == queued.content == KEYED
    snapshot = await StreamStore(database).snapshot(chat.id, owner_id=OWNER, since=taken.id)
    assert snapshot is not None
    assert [message.id for message in snapshot.messages] == [taken.id]
    assert snapshot.has_older


async def test_edited_message_keeps_its_key(database: Database) -> None:
    chat = await chat_with_status(database, Status.WAITING)
    sent = await Chats(database).send(chat.id, owner_id=OWNER, content=KEYED)
    messages, reads = Messages(database), ChatReader(database)
    edited = await messages.edit(
        chat.id, sent.messages[0].id, owner_id=OWNER, content=text_content("how?")
    )
    assert edited.messages[0].content == with_client_key(text_content("how?"), "u_x1")
    renamed = await messages.edit(
        chat.id,
        edited.messages[0].id,
        owner_id=OWNER,
        content=with_client_key(text_content("how?"), "u_x2"),
    )
    assert client_key(renamed.messages[0].content) == "u_x2"
    assert await reads.message_by_client_key(chat.id, "u_x1", owner_id=OWNER) is None, "superseded"
    found = await reads.message_by_client_key(chat.id, "u_x2", owner_id=OWNER)
    assert found == renamed.messages[0]


async def test_fork_has_the_keys_of_its_messages(database: Database) -> None:
    chat = await chat_with_status(database, Status.WAITING)
    await Chats(database).send(chat.id, owner_id=OWNER, content=KEYED)
    forked = (await Chats(database).fork(chat.id, owner_id=OWNER)).chat
    found = await ChatReader(database).message_by_client_key(forked.id, "u_x1", owner_id=OWNER)
    assert found is not None
    assert found.chat_id == forked.id


async def test_key_tells_strangers_nothing(database: Database) -> None:
    chat = await chat_with_status(database, Status.WAITING)
    await Chats(database).send(chat.id, owner_id=OWNER, content=KEYED)
    reads = ChatReader(database)
    for chat_id, owner in ((chat.id, "bob"), (uuid4(), OWNER)):
        with pytest.raises(ChatNotFound):
            await reads.message_by_client_key(chat_id, "u_x1", owner_id=owner)
    assert await reads.message_by_client_key(chat.id, "u_x2", owner_id=OWNER) is None
    assert await reads.message_by_client_key(chat.id, "u_x1", owner_id=None) is not None


async def test_longest_key_of_any_characters_is_stored(database: Database) -> None:
    chat = await chat_with_status(database, Status.WAITING)
    key = "\N{PILE OF POO}" * (MAX_CLIENT_KEY_LENGTH - 1) + "\0"
    content = with_client_key(text_content("why?"), key)
    await Chats(database).send(chat.id, owner_id=OWNER, content=content)
    found = await ChatReader(database).message_by_client_key(chat.id, key, owner_id=OWNER)
    assert found is not None
    for bad in ("", "x" * (MAX_CLIENT_KEY_LENGTH + 1)):
        with pytest.raises(ValueError, match="1 to 255"):
            with_client_key(text_content("why?"), bad)


@BOTH
async def test_search_for_a_key_reads_one_message(database: Database, generic: bool) -> None:
    chat = await chat_with_status(database, Status.WAITING)
    await database.fetch(
        "INSERT INTO chat_messages (chat_id, id, version, role, content)"
        " SELECT $1, chat_message_id(2, n), 2, 'user', CASE WHEN n % 10 = 0"
        "  THEN jsonb_set($2, '{0,client}', to_jsonb('u' || n)) ELSE $2 END"
        " FROM generate_series(1, 5000) n",
        chat.id,
        list(text_content("why?")),
    )
    async with database.dedicated_connection() as connection:
        await connection.execute("ANALYZE chat_messages")
        values = {"chat_id": chat.id, "client_key": "u50", "owner_id": OWNER}
        found = await plan(connection, "reads", "message_by_client_key", generic=generic, **values)
        size = await connection.fetchval(
            "SELECT reltuples::int FROM pg_class WHERE relname = 'chat_messages_client_key_idx'"
        )
    assert "chat_messages_client_key_idx" in indexes(found)
    assert size == 500, "messages without a key are not in it"
