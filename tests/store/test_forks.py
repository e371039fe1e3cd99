"""Forks: a new chat with the history of another one, up to a message."""

from typing import Any
from uuid import UUID

import pytest
from support.claims import claim_chats
from support.factories import (
    MODEL,
    OTHER_MODEL,
    OWNER,
    chat_with_status,
    insert_models,
    stored_rows,
    text_content,
)
from support.invariants import check_all
from support.stored_messages import insert_message, visible_texts

from chatd.domain.chat import Chat, Status, Usage
from chatd.domain.errors import ChatFull, ChatNotFound, MessageNotFound
from chatd.domain.files import new_file
from chatd.domain.message import Part
from chatd.store.chats import Chats
from chatd.store.database import Database
from chatd.store.files import Files
from chatd.store.limits import ChatLimits
from chatd.store.messages import Messages
from chatd.store.turns import Turns

FILE = new_file(b"of the history", media_type="text/plain", name="a.txt")
HIDDEN_FILE = new_file(b"of a hidden message", media_type="text/plain", name="b.txt")
CALL: Part = {"type": "tool-call", "tool_call_id": "c", "tool_name": "clock", "args": {}}
RESULT: Part = {"type": "tool-result", "tool_call_id": "c", "tool_name": "clock", "result": "noon"}


COPIED = {"owner_id", "title", "labels", "server_tools", "last_model_config_id"}
"""Columns that a fork has from its source. Any other has the value of an empty chat."""
OF_ITS_OWN = {"id", "root_chat_id", "stored_bytes", "created_at", "updated_at"}


async def history(database: Database, chat: Chat) -> list[tuple[str, Any]]:
    messages = (await Turns(database).history(chat.id)).messages
    return [(message.role.value, message.content) for message in messages]


async def insert_parts(database: Database, chat: Chat, role: str, *parts: Part) -> int:
    message_id = await insert_message(database, chat, role, "")
    await database.fetch(
        "UPDATE chat_messages SET content = $3 WHERE chat_id = $1 AND id = $2",
        chat.id,
        message_id,
        parts,
    )
    return message_id


async def test_fork_has_the_history_the_files_and_the_tools(database: Database) -> None:
    await insert_models(database)
    chats = Chats(database)
    source = await chats.create(
        owner_id=OWNER,
        model_config_id=OTHER_MODEL,
        content=(FILE.reference(),),
        files=(FILE,),
        title="a title",
        labels={"a": "b"},
        system_prompt="be brief",
        tools=[{"name": "clock", "description": "", "parameters": {}}],
    )
    await insert_message(database, source.chat, "assistant", "hi")
    hidden = await insert_message(database, source.chat, "user", "hidden")
    for content, files in (
        ((HIDDEN_FILE.reference(),), (HIDDEN_FILE,)),
        (text_content("instead"), ()),
    ):
        edited = await Messages(database).edit(
            source.chat.id, hidden, owner_id=OWNER, content=content, files=files
        )
        hidden = edited.messages[0].id
    before = await stored_rows(database, source.chat)

    fork = (await chats.fork(source.chat.id, owner_id=OWNER)).chat

    assert await stored_rows(database, source.chat) == before
    assert fork.id != source.chat.id
    assert (fork.status, fork.version, fork.epoch) == (Status.WAITING, 1, 0)
    assert (fork.parent_chat_id, fork.root_chat_id) == (None, fork.id)
    assert (fork.title, fork.labels) == ("a title", {"a": "b"})
    assert fork.last_model_config_id == OTHER_MODEL
    assert await history(database, fork) == await history(database, source.chat)
    assert (await Turns(database).history(fork.id)).tools == [
        {"name": "clock", "description": "", "parameters": {}}
    ]
    assert (await Files(database).file(fork.id, FILE.id, owner_id=OWNER)).name == "a.txt"
    stored = await database.fetch("SELECT id, data FROM chat_files WHERE chat_id = $1", fork.id)
    assert [(row["id"], row["data"]) for row in stored] == [(FILE.id, FILE.data)]
    await chats.delete(source.chat.id, owner_id=OWNER)
    assert await check_all(database) == 1


async def test_fork_ends_at_the_message_and_has_spent_nothing(database: Database) -> None:
    chat = await chat_with_status(database, Status.WAITING)
    answer = await insert_message(database, chat, "assistant", "hi")
    await insert_message(database, chat, "user", "why?")
    await database.fetch("UPDATE chat_messages SET input_tokens = 5, output_tokens = 7")
    await database.fetch("UPDATE chats SET input_tokens = 5, output_tokens = 7")
    result = await Chats(database).fork(
        chat.id, owner_id=OWNER, from_message_id=answer, title="new", labels={"c": "d"}
    )
    assert await visible_texts(database, result.chat) == ["hello", "hi"]
    assert (result.chat.title, result.chat.labels) == ("new", {"c": "d"})
    assert result.chat.usage == Usage()
    assert result.entry is not None
    assert result.entry.data == {
        "forked_from": str(chat.id),
        "from_message_id": answer,
        "copied_messages": 2,
    }
    messages = (await Turns(database).history(result.chat.id)).messages
    assert [message.usage and message.usage.output_tokens for message in messages] == [7, 7]
    originals = (await Turns(database).history(chat.id)).messages
    assert [message.created_at for message in messages] == [
        message.created_at for message in originals[:2]
    ]


@pytest.mark.parametrize("status", Status)
async def test_any_chat_can_be_forked(database: Database, status: Status) -> None:
    chat = await chat_with_status(database, status)
    fork = (await Chats(database).fork(chat.id, owner_id=OWNER)).chat
    assert await visible_texts(database, fork) == ["hello"]
    assert (fork.status, fork.last_error, fork.queue_length) == (Status.WAITING, None, 0)
    sent = await Chats(database).send(fork.id, owner_id=OWNER, content=text_content("and?"))
    assert sent.chat.status is Status.PENDING
    assert fork.id in {claim.result.chat.id for claim in await claim_chats(database, 10)}


async def test_fork_has_what_its_source_is_and_nothing_of_what_it_does(
    database: Database,
) -> None:
    """A new column of chats may fail here: then it is to be decided whether a fork has it."""
    empty = await chat_with_status(database, Status.WAITING)
    await database.fetch("DELETE FROM chat_messages")
    source = await chat_with_status(
        database,
        Status.RUNNING,
        owner_id="bob",
        title="a title",
        labels={"a": "b"},
        server_tools={"mcp": ["time"]},
        permissions={"mode": "ask", "remembered": {"clock": "allow"}},
        last_model_config_id=OTHER_MODEL,
        attempts=1,
        recoveries=1,
        input_tokens=5,
        committed_steps=3,
    )
    fork = (await Chats(database).fork(source.id, owner_id="bob")).chat
    of_empty, of_source, of_fork = [
        dict((await database.fetch("SELECT * FROM chats WHERE id = $1", chat.id))[0])
        for chat in (empty, source, fork)
    ]
    expected = of_empty | {name: of_source[name] for name in COPIED}
    expected["permissions"] = {"mode": "ask"}  # what was remembered was said of the other chat
    assert {name: of_fork[name] for name in of_fork.keys() - OF_ITS_OWN} == {
        name: expected[name] for name in of_fork.keys() - OF_ITS_OWN
    }


async def test_calls_and_results_stay_together(database: Database) -> None:
    chat = await chat_with_status(database, Status.WAITING)
    calls = await insert_parts(database, chat, "assistant", CALL)
    chats = Chats(database)
    without = (await chats.fork(chat.id, owner_id=OWNER)).chat
    assert [role for role, _ in await history(database, without)] == ["user"], "no result yet"
    results = await insert_parts(database, chat, "tool", RESULT)
    await insert_message(database, chat, "assistant", "It is noon.")
    for message_id in (calls, results):
        forked = await chats.fork(chat.id, owner_id=OWNER, from_message_id=message_id)
        assert (await history(database, forked.chat))[1:] == [
            ("assistant", (CALL,)),
            ("tool", (RESULT,)),
        ]


async def test_file_of_a_result_is_copied_and_a_word_that_looks_like_one_is_not(
    database: Database,
) -> None:
    chat = await chat_with_status(database, Status.WAITING)
    await insert_parts(database, chat, "assistant", CALL)
    nested = {**RESULT, "result": [FILE.reference(), {"file_id": "not an id"}, {"file_id": [1]}]}
    await insert_parts(database, chat, "tool", nested)
    await database.fetch(
        "INSERT INTO chat_files (chat_id, id, media_type, size, data)"
        " VALUES ($1, $2, 'text/plain', 14, $3)",
        chat.id,
        FILE.id,
        FILE.data,
    )
    fork = (await Chats(database).fork(chat.id, owner_id=OWNER)).chat
    [row] = await database.fetch("SELECT id FROM chat_files WHERE chat_id = $1", fork.id)
    assert row["id"] == FILE.id


async def test_what_cannot_be_forked(database: Database) -> None:
    chat = await chat_with_status(database, Status.WAITING)
    other = await chat_with_status(database, Status.WAITING, owner_id="bob")
    await insert_message(database, other, "assistant", "hi")
    elsewhere = await insert_message(database, other, "user", "not yours")
    chats = Chats(database)
    for chat_id in (other.id, UUID(int=0)):
        with pytest.raises(ChatNotFound):
            await chats.fork(chat_id, owner_id=OWNER)
    for message_id in (elsewhere, 0, 2**63 - 1):
        with pytest.raises(MessageNotFound):
            await chats.fork(chat.id, owner_id=OWNER, from_message_id=message_id)
    with pytest.raises(ChatFull):
        await Chats(database, limits=lambda: ChatLimits(max_chat_bytes=10)).fork(
            chat.id, owner_id=OWNER
        )
    assert len(await database.fetch("SELECT FROM chats")) == 2
    assert (await chats.fork(chat.id, owner_id=OWNER)).chat.last_model_config_id == MODEL
