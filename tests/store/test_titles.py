"""Titles of chats: the first words, a model's, or a caller's, which nothing else replaces."""

from typing import Any

import pytest
from support.factories import (
    MODEL,
    OWNER,
    WORKER,
    chat_with_status,
    insert_chat,
    insert_models,
    stored_rows,
    text_content,
)

from chatd.domain.chat import Chat, Status, TitleSource, Usage
from chatd.domain.message import Content, NewMessage, Role
from chatd.domain.stream_events import StreamEventType, stream_events
from chatd.store.chats import Chats
from chatd.store.commands import CommitStep
from chatd.store.commits import CommitListener
from chatd.store.database import Database
from chatd.store.histories import ChatHistory, KnownHistories
from chatd.store.titles import Titles
from chatd.store.turns import FencingToken, Turns

WORDS, BY_MODEL, BY_CALLER = TitleSource.WORDS, TitleSource.MODEL, TitleSource.CALLER
QUESTION = text_content("# Why is the *sky* blue?")
USAGE = Usage(5, 4, 3, 2, 1)


async def create(database: Database, content: Content | None = QUESTION, **more: Any) -> Chat:
    await insert_models(database)
    created = await Chats(database).create(
        owner_id=OWNER, model_config_id=MODEL, content=content, **more
    )
    return created.chat


async def send(database: Database, chat: Chat, text: str) -> Chat:
    sent = await Chats(database).send(chat.id, owner_id=OWNER, content=text_content(text))
    return sent.chat


async def test_first_message_gives_the_title(database: Database) -> None:
    chat = await create(database)
    assert (chat.title, chat.title_by) == ("Why is the sky blue?", WORDS)
    assert (await send(database, chat, "and now?")).title == "Why is the sky blue?"


async def test_title_of_the_caller_stays(database: Database) -> None:
    chat = await create(database, title="Mine")
    assert (chat.title, chat.title_by) == ("Mine", BY_CALLER)
    assert await Titles(database).set(chat.id, "Theirs", USAGE) is None


async def test_first_message_that_is_sent_gives_the_title_and_streams_tell(
    database: Database,
) -> None:
    chat = await create(database, None, labels={"a": "b"})
    assert (chat.title, chat.title_by) == ("", WORDS)
    sent = await Chats(database).send(chat.id, owner_id=OWNER, content=QUESTION)
    assert (sent.chat.title, sent.chat.title_by) == ("Why is the sky blue?", WORDS)
    assert sent.entry is not None
    told = [e.data for e in stream_events(sent.entry) if e.type is StreamEventType.CHAT]
    assert told == [{"title": "Why is the sky blue?", "labels": {"a": "b"}, "archived": False}]
    again = await Chats(database).send(chat.id, owner_id=OWNER, content=text_content("and now?"))
    assert again.chat.title == "Why is the sky blue?"
    assert again.entry is not None
    assert "title" not in again.entry.data


async def test_message_without_words_leaves_the_title_to_the_next_one(database: Database) -> None:
    chat = await create(database, text_content("```\n```"))
    assert (chat.title, chat.title_by) == ("", WORDS)
    await database.fetch(
        "UPDATE chats SET status = 'waiting', pending_since = NULL WHERE id = $1", chat.id
    )
    assert (await send(database, chat, "words")).title == "words"


@pytest.mark.parametrize("title", ["Mine", ""])
@pytest.mark.parametrize("archived", [None, True])
async def test_change_of_the_caller_stays(
    database: Database, title: str, archived: bool | None
) -> None:
    await insert_models(database)
    chat = await insert_chat(database, title="first words")
    chats = Chats(database)
    if archived is None:
        changed = (await chats.describe(chat.id, owner_id=OWNER, title=title)).chat
    else:
        changed = (await chats.archive(chat.id, owner_id=OWNER, title=title))[0].chat
        await chats.archive(chat.id, owner_id=OWNER, archived=False)
    assert (changed.title, changed.title_by) == (title, BY_CALLER)
    assert (await send(database, chat, "more")).title == title
    assert await Titles(database).set(chat.id, "Theirs", USAGE) is None


@pytest.mark.parametrize("archived", [None, True])
async def test_change_of_something_else_leaves_the_title_to_a_model(
    database: Database, archived: bool | None
) -> None:
    await insert_models(database)
    chat = await insert_chat(database, title="first words")
    chats = Chats(database)
    if archived is None:
        await chats.describe(chat.id, owner_id=OWNER, labels={"a": "b"})
    else:
        await chats.archive(chat.id, owner_id=OWNER, labels={"a": "b"})
    result = await Titles(database).set(chat.id, "Better", USAGE)
    assert result is not None
    assert (result.chat.title, result.chat.title_by) == ("Better", BY_MODEL)
    assert result.chat.labels == {"a": "b"}


async def test_model_gives_a_title_once_and_its_tokens_are_the_chats(database: Database) -> None:
    chat = await create(database)
    result = await Titles(database).set(chat.id, "The sky", USAGE)
    assert result is not None
    assert result.chat.usage == USAGE
    before = await stored_rows(database, chat)
    assert await Titles(database).set(chat.id, "Another", USAGE) is None
    assert await stored_rows(database, chat) == before
    deleted = await Chats(database).delete(chat.id, owner_id=OWNER)
    assert [chat_id for chat_id, _ in deleted] == [chat.id]
    assert await Titles(database).set(chat.id, "Another", USAGE) is None


@pytest.mark.parametrize("given", [None, "Mine"])
async def test_fork_has_the_title_and_who_gave_it(database: Database, given: str | None) -> None:
    chat = await create(database)
    fork = (await Chats(database).fork(chat.id, owner_id=OWNER, title=given)).chat
    expected = ("Why is the sky blue?", WORDS) if given is None else ("Mine", BY_CALLER)
    assert (fork.title, fork.title_by) == expected


async def test_title_takes_nothing_from_the_worker_of_a_running_turn(database: Database) -> None:
    """The fence, the status and the journal's order are as without it, and the step is stored."""
    chat = await chat_with_status(database, Status.RUNNING)
    published: list[int] = []
    listener = CommitListener(
        on_commit=lambda entries, _: published.extend(entry.version for entry in entries)
    )
    titled = await Titles(database, listener=listener).set(chat.id, "The sky", Usage())
    assert titled is not None
    assert (titled.chat.status, titled.chat.epoch) == (Status.RUNNING, chat.epoch)
    assert titled.chat.worker_id == WORKER
    assert titled.chat.version == chat.version + 1
    step = CommitStep(
        step=chat.committed_steps,
        messages=[NewMessage(role=Role.ASSISTANT, content=text_content("hi"))],
        settled_part=0,
    )
    result = await Turns(database, listener=listener).apply(
        FencingToken(chat.id, WORKER, chat.epoch), step
    )
    assert (result.chat.title, result.chat.version) == ("The sky", chat.version + 2)
    assert published == [chat.version + 1, chat.version + 2]


async def test_known_history_is_still_known(database: Database) -> None:
    chat = await create(database, None)
    history = ChatHistory(tools=[{"name": "clock"}])
    histories = KnownHistories(max_bytes=10_000)
    histories.keep(chat.id, chat.version, history)
    size = histories.size
    result = await Titles(database, histories=histories).set(chat.id, "The sky", Usage())
    assert result is not None
    assert histories.size == size
    assert histories.take(chat.id, result.chat.version) is history

    histories.keep(chat.id, result.chat.version - 1, history)
    histories.carry_over(chat.id, result.chat.version)
    assert histories.take(chat.id, result.chat.version + 1) is None, "it was another version's"
