"""Edit and clear: messages are superseded, and the worker is fenced."""

import asyncio

import pytest
from support.claims import claim_chats
from support.concurrency import gather_all, row_locked, wait_until_blocked
from support.factories import (
    MODEL,
    OWNER,
    WORKER,
    chat_with_status,
    insert_models,
    stored_rows,
    text_content,
)
from support.stored_messages import insert_message, queued_ids, visible_texts

from chatd.domain.chat import Status
from chatd.domain.errors import ChatArchived, LeaseLost, MessageNotFound, NotAUserMessage
from chatd.domain.message import NewMessage, Role
from chatd.store.chats import Chats
from chatd.store.commands import FinishTurn
from chatd.store.database import Database
from chatd.store.messages import Messages
from chatd.store.reads import ChatReader
from chatd.store.stream_reads import PartBatch, StreamStore
from chatd.store.turns import FencingToken, Turns

ANSWER = NewMessage(role=Role.ASSISTANT, content=text_content("an answer"))


async def test_edit_supersedes_later_messages_and_keeps_earlier_ones(
    database: Database,
) -> None:
    chat = await chat_with_status(database, Status.WAITING)
    await insert_message(database, chat, "assistant", "hi")
    second = await insert_message(database, chat, "user", "why?")
    await insert_message(database, chat, "assistant", "because")
    result = await Messages(database).edit(
        chat.id, second, owner_id=OWNER, content=text_content("a \x00 how?")
    )
    assert result.entry is not None
    (new,) = result.entry.messages
    assert new.id > second
    assert new.content == text_content("a \N{REPLACEMENT CHARACTER} how?")
    assert await visible_texts(database, chat) == [
        "hello",
        "hi",
        "a \N{REPLACEMENT CHARACTER} how?",
    ]
    history = (await Turns(database).history(chat.id)).messages
    assert [message.id for message in history][-1] == new.id
    assert len(history) == 3
    superseded = await database.fetch(
        "SELECT id FROM chat_messages WHERE superseded_version = $1", result.chat.version
    )
    assert [row["id"] for row in superseded] == [second, second + 1], "kept, and superseded"


async def test_edit_fences_the_worker_and_drops_its_parts(database: Database) -> None:
    chat = await chat_with_status(database, Status.RUNNING, queued=2, attempts=1, recoveries=1)
    (message,) = (await ChatReader(database).messages_after(chat.id, 0, limit=1)).items
    streams, turns = StreamStore(database), Turns(database)
    await streams.flush_parts(
        [PartBatch(chat.id, 1, 1, [{"index": 0, "type": "text", "text": "x"}])]
    )
    result = await Messages(database).edit(
        chat.id, message.id, owner_id=OWNER, content=text_content("new")
    )
    assert (result.chat.epoch, result.chat.worker_id) == (2, None)
    assert (result.chat.attempts, result.chat.recoveries) == (0, 0)
    assert result.entry is not None
    assert len(result.entry.data["removed"]) == 2
    assert await queued_ids(database, chat) == []
    assert await database.fetch("SELECT FROM chat_parts") == []
    before = await stored_rows(database, chat)
    with pytest.raises(LeaseLost):
        await turns.apply(
            FencingToken(chat.id, WORKER, 1), FinishTurn(step=0, messages=[ANSWER], settled_part=1)
        )
    await streams.flush_parts(
        [PartBatch(chat.id, 1, 2, [{"index": 0, "type": "text", "text": "y"}])]
    )
    assert await database.fetch("SELECT FROM chat_parts") == []
    assert await stored_rows(database, chat) == before
    (claim,) = await claim_chats(database, 1)
    assert claim.result.chat.epoch == 3


async def test_edit_of_any_other_than_a_user_message_is_refused(database: Database) -> None:
    chat = await chat_with_status(database, Status.WAITING)
    other = await chat_with_status(database, Status.WAITING)
    answered = await insert_message(database, chat, "assistant", "hi")
    system = await insert_message(database, chat, "system", "be brief")
    for _ in range(3):  # more messages than the chat has, as ids are those of one chat
        elsewhere = await insert_message(database, other, "user", "not yours")
    messages = Messages(database)
    for message_id, refusal in (
        (answered, NotAUserMessage),
        (system, NotAUserMessage),
        (elsewhere, MessageNotFound),
        (2**63 - 1, MessageNotFound),
    ):
        with pytest.raises(refusal):
            await messages.edit(chat.id, message_id, owner_id=OWNER, content=text_content("x"))
    first = (await ChatReader(database).messages_after(chat.id, 0, limit=1)).items[0].id
    await messages.edit(chat.id, first, owner_id=OWNER, content=text_content("x"))
    with pytest.raises(MessageNotFound):  # already superseded
        await messages.edit(chat.id, first, owner_id=OWNER, content=text_content("y"))
    archived = await chat_with_status(database, Status.WAITING, archived=True)
    (message,) = (await ChatReader(database).messages_after(archived.id, 0, limit=1)).items
    with pytest.raises(ChatArchived):
        await messages.edit(archived.id, message.id, owner_id=OWNER, content=text_content("x"))


async def test_edit_that_waited_supersedes_messages_stored_meanwhile(wide: Database) -> None:
    """The snapshot of the edit is older than the answer that it has to supersede."""
    chat = await chat_with_status(wide, Status.RUNNING)
    (message,) = (await ChatReader(wide).messages_after(chat.id, 0, limit=1)).items

    async def finish() -> None:
        async with row_locked(wide, chat) as connection:
            waiting = asyncio.ensure_future(edit())
            await wait_until_blocked(connection)
            await connection.execute(
                "INSERT INTO chat_messages (chat_id, id, version, role, content)"
                " VALUES ($1, chat_message_id(2, 1), 2, 'assistant', $2)",
                chat.id,
                text_content("an answer"),
            )
            await connection.execute(
                "UPDATE chats SET version = version + 1 WHERE id = $1", chat.id
            )
        await waiting

    async def edit() -> None:
        await Messages(wide).edit(chat.id, message.id, owner_id=OWNER, content=text_content("new"))

    await finish()
    assert await visible_texts(wide, chat) == ["new"]


async def test_concurrent_edits_leave_one_branch(wide: Database) -> None:
    chat = await chat_with_status(wide, Status.WAITING)
    (message,) = (await ChatReader(wide).messages_after(chat.id, 0, limit=1)).items

    async def edit(text: str) -> bool:
        try:
            await Messages(wide).edit(
                chat.id, message.id, owner_id=OWNER, content=text_content(text)
            )
        except MessageNotFound:
            return False
        return True

    accepted = await gather_all(*(edit(f"edit {n}") for n in range(10)))
    assert accepted.count(True) == 1
    assert await visible_texts(wide, chat) == [f"edit {accepted.index(True)}"]


async def test_clear_keeps_only_the_system_prompt(database: Database) -> None:
    await insert_models(database)
    chats = Chats(database)
    created = await chats.create(
        owner_id=OWNER,
        model_config_id=MODEL,
        content=text_content("hello"),
        system_prompt="be brief",
    )
    await chats.interrupt(created.chat.id, owner_id=OWNER)
    result = await Messages(database).clear(created.chat.id, owner_id=OWNER)
    assert await visible_texts(database, result.chat) == ["be brief"]
    assert result.entry is not None
    assert created.entry is not None
    assert result.entry.data["reset_from"] == created.entry.messages[1].id
    again = await Messages(database).clear(created.chat.id, owner_id=OWNER)
    assert again.entry is not None
    assert "reset_from" not in again.entry.data


async def test_clear_of_a_failed_chat_drops_error_and_queue(database: Database) -> None:
    chat = await chat_with_status(database, Status.ERROR, queued=2)
    result = await Messages(database).clear(chat.id, owner_id=OWNER)
    assert (result.chat.status, result.chat.last_error) == (Status.WAITING, None)
    assert await queued_ids(database, chat) == []
    assert await visible_texts(database, chat) == []


@pytest.mark.parametrize("named", ["question", "calls", "results", "answer"])
async def test_regenerate_keeps_the_question_and_what_is_before_it(
    database: Database, named: str
) -> None:
    chat = await chat_with_status(database, Status.ERROR, queued=1)
    await insert_message(database, chat, "assistant", "hi")
    ids = {"question": await insert_message(database, chat, "user", "why?")}
    for name, role in (("calls", "assistant"), ("results", "tool"), ("answer", "assistant")):
        ids[name] = await insert_message(database, chat, role, name)
    await insert_message(database, chat, "user", "later")
    result = await Messages(database).regenerate(chat.id, ids[named], owner_id=OWNER)
    assert await visible_texts(database, chat) == ["hello", "hi", "why?"]
    assert result.chat.status is Status.PENDING
    assert result.chat.queue_length == 0
    assert result.entry is not None
    assert result.entry.transition == "regenerate"
    assert result.entry.data["reset_from"] == ids["question"] + 1
    assert result.messages == ()


async def test_regenerate_without_a_question_is_refused(database: Database) -> None:
    chat = await chat_with_status(database, Status.WAITING)
    await database.fetch("UPDATE chat_messages SET role = 'system'")
    answer = await insert_message(database, chat, "assistant", "hi")
    before = await stored_rows(database, chat)
    for message_id in (1_000_001, answer, answer + 1):
        with pytest.raises(MessageNotFound):
            await Messages(database).regenerate(chat.id, message_id, owner_id=OWNER)
    assert await stored_rows(database, chat) == before
